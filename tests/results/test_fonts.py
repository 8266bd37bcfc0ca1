"""Labels of charts for names that the default font cannot draw."""

from __future__ import annotations

import pathlib
import warnings

import numpy as np
import pytest
from matplotlib import font_manager

from trainer.results import fonts
from trainer.results.evaluation import Evaluation
from trainer.results.fonts import plot_labels
from trainer.results.summaries import confusion_image


@pytest.fixture
def without_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_font_files", tuple)


@pytest.mark.parametrize(
    ("names", "texts", "legend"),
    [
        (["pizza", "борщ"], ("pizza", "борщ"), {}),
        (["pizza", "寿司"], ("pizza", "2"), {"2": "寿司"}),
        (["披萨", "b", "牛排"], ("1", "b", "3"), {"1": "披萨", "3": "牛排"}),
        # Half of a name is no name.
        (["a 寿", "b"], ("1", "b"), {"1": "a 寿"}),
    ],
)
def test_a_name_that_no_font_has_is_a_number(
    without_other_fonts: None,
    names: list[str],
    texts: tuple[str, ...],
    legend: dict[str, str],
) -> None:
    found = plot_labels(names)
    assert (found.texts, found.families) == (texts, ("DejaVu Sans",))
    assert found.legend == legend


def test_a_font_that_has_the_characters_is_added(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Fonts that cannot be read or have nothing that is missing are not."""
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    # matplotlib comes with this one; the letter is not in DejaVu Sans here.
    other = font_manager.findfont("STIXGeneral")
    monkeypatch.setattr(
        fonts,
        "_font_files",
        lambda: (("Broken", str(broken)), ("STIXGeneral", other)),
    )
    own = fonts._characters(fonts._default_file()) - {"ж"}
    real = fonts._characters
    monkeypatch.setattr(
        fonts,
        "_characters",
        lambda path: own if path == fonts._default_file() else real(path),
    )
    found = plot_labels(["ж", "b"])
    assert found.texts == ("ж", "b")
    assert found.families == ("DejaVu Sans", "STIXGeneral")


def test_any_name_is_drawn_without_a_warning() -> None:
    names = ("寿司", "🍕", "पिज़्ज़ा")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = confusion_image(
            Evaluation(
                loss=0.0,
                accuracy=1.0,
                top5_accuracy=None,
                confusion=np.diag([2, 2, 2]),
                class_names=names,
            )
        )
    assert image.dtype == np.uint8
    assert set(plot_labels(names).legend.values()) <= set(names)
