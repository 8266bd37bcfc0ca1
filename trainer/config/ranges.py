"""Parses and validates flag values; errors state the legal values."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from trainer.config.fields import AUTO
from trainer.errors import UsageError
from trainer.storage import files

_MAX_L2 = 1e6

_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "data_pct": ("a number above 0 and up to 100", lambda x: 0 < x <= 100),
    "shots": (
        "a whole number of images from 1 to 1000000",
        lambda x: 1 <= x <= 10**6,
    ),
    "test_fraction": ("a number above 0 and below 1", lambda x: 0 < x < 1),
    "validation_fraction": (
        "a number above 0 and up to 1",
        lambda x: 0 < x <= 1,
    ),
    "batch_size": (
        "a whole number from 1 to 1000000",
        lambda x: 1 <= x <= 10**6,
    ),
    "epochs": (
        "a whole number from 1 to 1000000",
        lambda x: 1 <= x <= 10**6,
    ),
    "head_epochs": (
        "a whole number from 0 to 1000000",
        lambda x: 0 <= x <= 10**6,
    ),
    "head_views": ("a whole number from 0 to 1000", lambda x: 0 <= x <= 1000),
    "image_size": (
        "a whole number of px from 1 to 8192",
        lambda x: 1 <= x <= 8192,
    ),
    "learning_rate": ("a number above 0", lambda x: x > 0),
    "head_learning_rate": ("a number above 0", lambda x: x > 0),
    "momentum": ("a number from 0 to below 1", lambda x: 0 <= x < 1),
    "weight_decay": ("a number from 0 to 1", lambda x: 0 <= x <= 1),
    "warmup": (
        "a fraction from 0 to below 1, or a whole number of steps up to"
        " 1000000",
        lambda x: 0 <= x < 1 or (1 <= x <= 10**6 and x == int(x)),
    ),
    "min_steps": (
        "a whole number from 0 to 1000000",
        lambda x: 0 <= x <= 10**6,
    ),
    "backbone_lr_scale": ("a number above 0 and up to 1", lambda x: 0 < x <= 1),
    "layer_decay": ("a number above 0 and up to 1", lambda x: 0 < x <= 1),
    "label_smoothing": ("a number from 0 to below 1", lambda x: 0 <= x < 1),
    "erasing": ("a number from 0 to 1", lambda x: 0 <= x <= 1),
    "dropout": ("a number from 0 to below 1", lambda x: 0 <= x < 1),
    "ema": ("a number from 0 to below 1", lambda x: 0 <= x < 1),
    "clip_global_norm": ("a number above 0", lambda x: x > 0),
    "patience": (
        "a whole number >= 1, or left out to train all epochs",
        lambda x: x >= 1,
    ),
    "time_limit": (
        "a number of minutes above 0, or left out for no limit",
        lambda x: x > 0,
    ),
    "budget": ("a number of minutes above 0", lambda x: x > 0),
    "seed": ("a whole number from 0 to 2**31-1", lambda x: 0 <= x < 2**31),
    "checkpoint_every_steps": ("a whole number >= 0", lambda x: x >= 0),
    "keep_checkpoints": (
        "a whole number >= 1, or left out for 3 in training and 1 after it",
        lambda x: x >= 1,
    ),
    "log_every_steps": ("a whole number >= 1", lambda x: x >= 1),
    "seeds": (
        "a whole number from 1 to 1000",
        lambda x: 1 <= x <= 1000,
    ),
    "top_k": ("a whole number >= 1", lambda x: x >= 1),
    "min_confidence": ("a number from 0 to 1", lambda x: 0 <= x <= 1),
    "port": ("a whole number from 0 to 65535", lambda x: 0 <= x <= 65535),
    "trunk_block": ("a whole number >= 0", lambda x: x >= 0),
    "cache_ram_mib": ("a whole number of MiB >= 0", lambda x: x >= 0),
    "cache_disk_mib": ("a whole number of MiB >= 0", lambda x: x >= 0),
    "steps_per_loop": ("a whole number >= 0", lambda x: x >= 0),
    "accumulate_steps": ("a whole number >= 1", lambda x: x >= 1),
    "logical_cpus": (
        "a whole number from 1 to 256",
        lambda x: 1 <= x <= 256,
    ),
}


def parse_gpus(text: str) -> tuple[int, ...]:
    """Returns the GPU numbers in a value of `--gpus`, in the given order.

    Raises:
      UsageError: a part is not a number, or a number occurs twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(
            f"--gpus={text!r}: must be numbers from 0, separated by commas,"
            " such as 0,1"
        )
    numbers = tuple(int(part) for part in parts)
    twice = [n for n in numbers if numbers.count(n) > 1]
    if twice:
        raise UsageError(
            f"--gpus={text!r}: names GPU {twice[0]} twice; give each once"
        )
    return numbers


def parse_profile(text: str) -> tuple[int, int]:
    """Returns the first and the last step in a value of `--profile`.

    Raises:
      UsageError: it is not two steps from 1 in order.
    """
    first, comma, last = (part.strip() for part in text.partition(","))
    numbers = [p for p in (first, last) if p.isascii() and p.isdigit()]
    if comma and len(numbers) == 2 and 1 <= int(first) <= int(last):
        return int(first), int(last)
    raise UsageError(
        f"--profile={text!r}: must be the first and the last step, such as"
        " 20,30; steps count from 1"
    )


def parse_models(text: str) -> tuple[int, ...]:
    """Returns the model numbers in a value of `--models`, sorted, each once.

    Raises:
      UsageError: a part is not a number from 0 to 4.
    """
    found = sorted({part.strip() for part in text.split(",")})
    if not set(found) <= set("01234"):
        raise UsageError(
            f"--models={text!r}: must be numbers from 0 to 4, separated by"
            " commas, such as 0,2,3"
        )
    return tuple(int(part) for part in found)


def parse_l2(text: str) -> float | None:
    """Returns the number of `--head_l2`; None for "auto".

    Raises:
      UsageError: it is neither auto nor a number in the legal range.
    """
    if text == AUTO:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _MAX_L2:
        raise UsageError(
            f"--head_l2={text[:40]!r}: must be auto or a number from 0 to"
            f" {_MAX_L2:g}; the default is auto"
        )
    return value


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Checks that a value is one of the choices, if there are any.

    None is always legal.

    Raises:
      UsageError: the value is not one of them.
    """
    if not choices or value is None or value in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(
        f"--{name}={value!r}: not one of {', '.join(choices)}{hint}"
    )


def check_range(name: str, value: Any, default: Any) -> None:
    """Checks that a number is in the range of its flag; None is always legal.

    Args:
      name: the name of the flag; a flag without a range is not checked.
      value: the value of the flag.
      default: the flag's default, for the message.

    Raises:
      UsageError: the number is outside the range or not finite.
    """
    if name not in _RANGES or value is None:
        return
    legal, holds = _RANGES[name]
    # "x > 0" alone would accept infinity.
    finite = not isinstance(value, float) or math.isfinite(value)
    if not finite or not holds(value):
        shown = "unset" if default is None else default
        given = f"{value:.15g}" if isinstance(value, float) else str(value)
        raise UsageError(
            f"--{name}={given[:40]}: must be {legal}; the default is {shown}"
        )


def parse_workdirs(text: str) -> tuple[str, ...]:
    """Returns the folders in a value of `--workdirs`, in the given order.

    Raises:
      UsageError: there are fewer than two, one is empty, or one is given
        twice.
    """
    paths = tuple(os.path.expanduser(path.strip()) for path in text.split(","))
    if len(paths) < 2 or not all(paths):
        raise UsageError(
            f"--workdirs={text!r}: must be two or more workdirs, separated by"
            " commas; give --workdirs=FIRST,SECOND"
        )
    places = [files.absolute(path) for path in paths]
    twice = [
        p for p, q in zip(paths, places, strict=True) if places.count(q) > 1
    ]
    if twice:
        raise UsageError(
            f"--workdirs={text!r}: names {twice[0]!r} twice; give each once"
        )
    return paths
