"""`.keras` archives that cannot be unpacked, or unpack to gigabytes."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Callable

import keras
import pytest

from tests.support.weights import load, refusal

pytestmark = pytest.mark.usefixtures("in_seconds")


def repack(
    path: pathlib.Path,
    compression: int = zipfile.ZIP_DEFLATED,
    **contents: bytes,
) -> None:
    """Rewrites an archive with other contents for some members."""
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in old.items():
            archive.writestr(name, contents.get(name.split(".")[0], content))


def encrypt(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(magic)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(magic, at + 1)
    path.write_bytes(content)


def compress_unknown(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = content.find(magic)
        while at >= 0:
            content[at + offset] = 77
            at = content.find(magic, at + 1)
    path.write_bytes(content)


def damage_stream(path: pathlib.Path) -> None:
    repack(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"config.json") + 20
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)


BOMB = bytes(65 << 20)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (encrypt, "config.json in it is encrypted; give a file that model."),
        (compress_unknown, "cannot be read (That compression method is not"),
        (damage_stream, "cannot be read (Error -3 while decompressing data"),
        (lambda path: repack(path, model=BOMB), "model.weights.h5 in it unpac"),
        (lambda path: repack(path, config=BOMB), "config.json in it unpacks"),
        (
            lambda path: repack(path, zipfile.ZIP_STORED, config=BOMB),
            "config.json in it unpacks from 68,157,440 bytes to 68,157,440,",
        ),
        (
            lambda path: repack(path, config=b"[" * 100_000),
            "cannot be read (maximum recursion depth exceeded",
        ),
    ],
    ids=[
        "encrypted",
        "compression",
        "stream",
        "weights-bomb",
        "config-bomb",
        "config-large",
        "config-deep",
    ],
)
def test_archives_that_cannot_be_unpacked_are_rejected(
    spoil: Callable[[pathlib.Path], None],
    message: str,
    tiny: keras.Model,
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "a.keras"
    tiny.save(path)
    spoil(path)
    assert refusal(path, tiny).startswith(message)


def test_a_compressed_archive_loads(
    tiny: keras.Model, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.keras"
    tiny.save(path)
    repack(path)
    load(path, tiny)
