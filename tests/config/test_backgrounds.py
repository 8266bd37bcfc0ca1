"""The colours of --background."""

from __future__ import annotations

import pytest

from trainer.config import Config
from trainer.config.backgrounds import parse_background
from trainer.errors import UsageError


@pytest.mark.parametrize(
    ("value", "colour"),
    [
        (None, None),
        ("off", None),
        ("white", (255, 255, 255)),
        ("black", (0, 0, 0)),
        ("0a10FF", (10, 16, 255)),
    ],
)
def test_a_background_is_a_name_or_six_digits(
    value: str | None, colour: tuple[int, int, int] | None
) -> None:
    assert parse_background(value) == colour
    assert Config(background=value).background == value


@pytest.mark.parametrize("value", ["", "pink", "fff", "#ffffff", "0a10FF\n"])
def test_other_backgrounds_are_refused(value: str) -> None:
    with pytest.raises(UsageError) as error:
        Config(background=value)
    assert str(error.value) == (
        f"--background={value!r}: not a colour; give white, black, six"
        " hexadecimal digits (RRGGBB) such as f0f0f0, or off"
    )
