"""The chart of head_path.json."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure

from trainer.results.head_chart import _draw, head_chart

POINTS = [
    {
        "l2": l2,
        "loss": loss,
        "accuracy": accuracy,
        "standard_error": 0.25,
        "accuracy_standard_error": 0.125,
    }
    for l2, loss, accuracy in (
        (100.0, 1.0, 0.25),
        (1.0, 0.5, 0.75),
        (0.01, 0.75, 0.5),
    )
]
RECORD = {"folds": 5, "l2": 1.0, "path": POINTS}


@pytest.mark.parametrize(
    ("panel", "key", "error"), [(0, "accuracy", 0.125), (1, "loss", 0.25)]
)
def test_each_panel_has_curve_errors_and_choice(panel, key, error):
    figure = Figure()
    _draw(figure, RECORD)
    axes = figure.axes[panel]
    values = np.array([point[key] for point in POINTS])
    curve, *_, choice = axes.lines
    np.testing.assert_array_equal(curve.get_xdata(), [100, 1, 0.01])
    np.testing.assert_array_equal(curve.get_ydata(), values)
    (bars,) = axes.collections
    spans = [bar[:, 1].tolist() for bar in bars.get_segments()]
    assert spans == [[v - error, v + error] for v in values]
    assert set(choice.get_xdata()) == {1.0}
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == f"cross-validated {key}"
    assert figure.axes[0].get_title() == "5 folds, chosen L2 1"


def test_chart_is_the_same_each_time_as_svg_and_pixels():
    drawn, image = head_chart(RECORD)
    assert ET.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
    assert image.shape == (500, 450, 3)
    assert image.dtype == np.uint8
    # The line at the choice is the only orange one.
    assert (image == [0xD5, 0x5E, 0x00]).all(-1).sum() > 20
    again, pixels = head_chart(RECORD)
    assert again == drawn
    np.testing.assert_array_equal(pixels, image)


def test_a_path_of_an_earlier_version_is_drawn():
    old = [
        {k: v for k, v in point.items() if k != "accuracy_standard_error"}
        for point in POINTS
    ]
    assert head_chart({**RECORD, "path": old})[0]
