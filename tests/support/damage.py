"""Random damage to the content of a file."""

from __future__ import annotations

import random


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Returns the content with one kind of damage: a bit, a cut, a token."""
    data = bytearray(content)
    at = rng.randrange(len(data))
    how = rng.randrange(6)
    if how == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif how == 1:
        del data[at:]
    elif how == 2:
        data[at : at + 16] = bytes(16)
    elif how == 3:
        data[at:at] = data[: rng.randrange(64)]
    elif how == 4:
        tokens = (b"null", b"[]", b"{}", b"1e999", b"-1", b'""', b"true")
        start = content.find(b":", at) + 1
        end = min(
            (e for c in b",}" if (e := content.find(c, start)) > 0),
            default=start,
        )
        data[start:end] = rng.choice(tokens)
    else:
        for _ in range(8):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)
