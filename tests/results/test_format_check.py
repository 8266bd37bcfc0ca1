"""What an exported model must answer, and how much int8 may lose."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.errors import TrainerError
from trainer.results.format_check import (
    Measured,
    Measurement,
    accuracy_of,
    agreement_of,
    check_float,
    check_quantized,
)

# Four images of three classes; the last one is nearly a tie.
OWN = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.4, 0.39995, 0.2]],
    np.float32,
)
LABELS = np.array([0, 1, 1, 1], np.int32)
THRESHOLDS = np.array([0.5, 0.25, 0.39], np.float32)


def swapped(row: int) -> np.ndarray:
    """Returns OWN with its first two classes exchanged in one row."""
    found = OWN.copy()
    found[row, :2] = found[row, 1::-1]
    return found


def test_accuracy_counts_most_probable_classes() -> None:
    assert accuracy_of(OWN, LABELS, None) == 0.5
    assert accuracy_of(swapped(3), LABELS, None) == 0.75


def test_exact_match_counts_images_whose_labels_are_all_right() -> None:
    """The thresholds give the labels 100, 010, 011 and 010."""
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 1]], np.uint8)
    assert accuracy_of(OWN, labels, THRESHOLDS) == 0.5


def test_agreement_is_the_share_of_equal_answers() -> None:
    assert agreement_of(OWN, swapped(0), None) == 0.75
    assert agreement_of(OWN, swapped(2), None) == 1
    # The labels of the third image become 001.
    assert agreement_of(OWN, swapped(2), THRESHOLDS) == 0.75


@pytest.mark.parametrize("thresholds", [None, THRESHOLDS])
def test_a_float_model_may_round(thresholds: np.ndarray | None) -> None:
    check_float("onnx", OWN, OWN + 0.0009, thresholds)
    check_float("onnx", OWN, swapped(3), None)


def test_a_float_model_with_another_class_is_an_error() -> None:
    """Both probabilities change by less than what rounding may change."""
    own = OWN.copy()
    own[1] = 0.4, 0.4005, 0.1995
    found = own.copy()
    found[1] = 0.4006, 0.3999, 0.1995
    with pytest.raises(TrainerError) as error:
        check_float("onnx", own, found, None)
    assert str(error.value) == (
        "--export_formats: onnx classifies 1 of 4 images differently from"
        " this trainer; nothing was exported; leave onnx out"
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(np.nan, "nan", id="NaN"),
        pytest.param(0.2011, "0.0011", id="another probability"),
    ],
)
def test_a_float_model_with_other_probabilities_is_an_error(
    value: float, said: str
) -> None:
    found = OWN.copy()
    found[0, 1] = value
    with pytest.raises(TrainerError) as error:
        check_float("tflite", OWN, found, None)
    assert str(error.value) == (
        "--export_formats: tflite does not give this trainer's predictions"
        f" (largest difference of a probability {said}; allowed: 0.001);"
        " nothing was exported; leave tflite out"
    )


@pytest.mark.parametrize(
    ("before", "after", "warns"),
    [
        pytest.param(0.9, 0.95, False, id="better"),
        pytest.param(0.9, 0.88, False, id="2 points"),
        pytest.param(0.9, 0.875, True, id="2.5 points"),
        pytest.param(0.9, 0.8, True, id="10 points"),
        pytest.param(None, None, False, id="no photos"),
    ],
)
def test_a_quantized_model_that_loses_more_is_warned_of(
    before: float | None, after: float | None, warns: bool
) -> None:
    said = check_quantized("tflite int8", (before, after), 0.3, force=False)
    assert (said is not None) == warns


def test_the_warning_says_what_is_lost() -> None:
    said = check_quantized("tflite int8", (0.9, 0.875), 0.3, force=False)
    assert said == (
        "tflite int8 loses 2.5 points of accuracy (0.9000 to 0.8750)"
    )


def test_a_quantized_model_that_loses_over_10_points_is_an_error() -> None:
    with pytest.raises(TrainerError) as error:
        check_quantized("tflite int8", (0.9, 0.7875), 0.3, force=False)
    assert str(error.value) == (
        "--quantize: tflite int8 loses 11.2 points of accuracy (0.9000 to"
        " 0.7875), more than 10; nothing was exported; give"
        " --quantize=float16 or none, or --force to export it anyway"
    )
    said = check_quantized("tflite int8", (0.9, 0.7875), 0.3, force=True)
    assert said is not None
    assert "loses 11.2 points" in said


def test_force_does_not_export_numbers_that_are_none() -> None:
    with pytest.raises(TrainerError, match=r"are not numbers; nothing was"):
        check_quantized("tflite int8", (None, None), np.nan, force=True)


def measurement(accuracy: float | None) -> Measurement:
    """Returns one of two models."""
    return Measurement(
        metric="accuracy",
        accuracy=accuracy,
        images=1000,
        of_images=None if accuracy is None else 2500,
        split="test",
        formats=tuple(
            Measured(
                name=name,
                file=name,
                quantize=quantize,
                size_bytes=size,
                milliseconds=time,
                runtime="tf 1",
                accuracy=accuracy,
                agreement=0.5,
                largest_difference=0.25,
            )
            for name, quantize, size, time in (
                ("keras", "none", 12_340_000, 20.04),
                ("tflite", "int8", 3_000_000, 5.25),
            )
        ),
    )


def test_the_table_has_a_line_per_model() -> None:
    assert list(measurement(0.875).lines()) == [
        "  on 1,000 of 2,500 images of the test split:",
        "  format       accuracy  agrees    MB  ms/image  loaded by",
        "  original       0.8750",
        "  keras          0.8750  0.5000  12.3      20.0  tf 1",
        "  tflite int8    0.8750  0.5000   3.0       5.2  tf 1",
    ]


def test_without_photos_there_is_no_accuracy() -> None:
    found = measurement(None)
    assert next(found.lines()) == (
        "  on 1000 generated images, so without accuracy:"
    )
    assert "original" not in "".join(found.lines())
    assert found.to_json()["original_accuracy"] is None


def test_the_record_has_size_speed_and_accuracy() -> None:
    record = measurement(0.875).to_json()
    assert record["measured_images"] == 1000
    assert record["measured_of"] == 2500
    assert record["formats"]["tflite"] == {
        "name": "tflite",
        "file": "tflite",
        "quantize": "int8",
        "size_bytes": 3_000_000,
        "megabytes": 3.0,
        "milliseconds": 5.25,
        "runtime": "tf 1",
        "accuracy": 0.875,
        "agreement": 0.5,
        "largest_difference": 0.25,
    }
