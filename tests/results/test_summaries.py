"""The content of TensorBoard's event files."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from trainer.results.evaluation import Evaluation
from trainer.results.summaries import TensorBoardWriter, confusion_image


def evaluation(confusion) -> Evaluation:
    """Returns an evaluation with this confusion matrix, of classes c0, ..."""
    confusion = np.asarray(confusion)
    return Evaluation(
        loss=0.5,
        accuracy=float(np.trace(confusion) / confusion.sum()),
        top5_accuracy=None,
        confusion=confusion,
        class_names=tuple(f"c{i}" for i in range(len(confusion))),
    )


def events(folder: pathlib.Path, split: str) -> dict[str, list]:
    """Returns (step, value) by tag, from the event file of a split."""
    (path,) = (folder / split).iterdir()
    found: dict[str, list] = {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value))
    return found


def decoded(value) -> np.ndarray:
    """Returns the image of an event, which holds width, height and PNGs."""
    return tf.io.decode_png(value.tensor.string_val[2]).numpy()


def cells(image: np.ndarray, classes: int) -> np.ndarray:
    """Returns the mean brightness of each cell of a confusion image.

    The longest dark row and column are the frame of the axes.
    """
    dark = image.max(axis=2) < 60
    rows = np.flatnonzero(dark.mean(axis=1) > 0.4)
    columns = np.flatnonzero(dark.mean(axis=0) > 0.4)
    inside = image[rows[0] + 2 : rows[-1] - 1, columns[0] + 2 : columns[-1] - 1]
    return np.array(
        [
            [part.mean() for part in np.array_split(row, classes, axis=1)]
            for row in np.array_split(inside, classes, axis=0)
        ]
    )


def test_train_and_validation_share_their_tags(tmp_path):
    writer = TensorBoardWriter(str(tmp_path))
    metrics = {"train": (0.5, 0.75), "validation": (0.625, 0.25)}
    for step in (3, 6):
        for split, (loss, accuracy) in metrics.items():
            writer.scalars(split, step, {"loss": loss, "accuracy": accuracy})
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train", "validation"]
    for split, values in metrics.items():
        found = events(tmp_path, split)
        assert set(found) == {"loss", "accuracy"}
        for tag, expected in zip(("loss", "accuracy"), values, strict=True):
            assert [
                (step, float(tf.make_ndarray(value.tensor)))
                for step, value in found[tag]
            ] == [(3, expected), (6, expected)]


def test_a_perfect_classifier_has_a_dark_diagonal():
    image = confusion_image(evaluation(np.diag([5, 5, 5, 5])))
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    brightness = cells(image, 4)
    diagonal = np.eye(4, dtype=bool)
    assert brightness[diagonal].max() < 120
    assert brightness[~diagonal].min() > 220


def test_rows_are_true_and_columns_predicted():
    """All images of class 0 are predicted as class 2."""
    brightness = cells(
        confusion_image(evaluation([[0, 0, 100], [0, 1, 0], [0, 0, 1]])), 3
    )
    dark = [(0, 2), (1, 1), (2, 2)]
    assert sorted(zip(*np.where(brightness < 150), strict=True)) == dark


@pytest.mark.parametrize("classes", [2, 10, 41])
def test_any_number_of_classes_can_be_drawn(classes):
    confusion = np.eye(classes, dtype=int)
    confusion[1, 1] = 0
    image = confusion_image(evaluation(confusion))
    assert image.dtype == np.uint8
    assert 300 <= image.shape[0] <= 1400
    brightness = cells(image, classes)
    assert brightness[0, 0] < 150 < brightness[1, 1]


def test_the_confusion_image_is_written_unchanged(tmp_path):
    writer = TensorBoardWriter(str(tmp_path))
    evaluated = evaluation([[3, 1], [0, 2]])
    writer.confusion(12, evaluated)
    writer.close()
    ((step, value),) = events(tmp_path, "test")["confusion_matrix"]
    assert step == 12
    np.testing.assert_array_equal(decoded(value), confusion_image(evaluated))


def test_augmented_images_are_below_the_plain_ones(tmp_path):
    before = np.stack([np.full((2, 2, 3), v, np.float32) for v in (10, 20)])
    # Rounding in a warp may leave the range 0..255.
    after = np.stack([np.full((2, 2, 3), v, np.float32) for v in (-1, 256)])
    writer = TensorBoardWriter(str(tmp_path))
    writer.augmented(0, before, after)
    writer.close()
    ((_, value),) = events(tmp_path, "train")["augmentation"]
    np.testing.assert_array_equal(
        decoded(value)[..., 0],
        [[10, 10, 20, 20]] * 2 + [[0, 0, 255, 255]] * 2,
    )


def test_the_configuration_is_a_text_page(tmp_path):
    writer = TensorBoardWriter(str(tmp_path))
    writer.configuration({"seed": 3, "workdir": None, "dataset": "борщ"})
    writer.close()
    ((_, value),) = events(tmp_path, "train")["configuration"]
    text = tf.make_ndarray(value.tensor).item().decode()
    assert text.splitlines() == [
        "| field | value |",
        "|---|---|",
        "| seed | 3 |",
        "| workdir | null |",
        '| dataset | "борщ" |',
    ]


def test_hparams_show_unset_values(tmp_path):
    from tensorboard.plugins.hparams import plugin_data_pb2

    writer = TensorBoardWriter(str(tmp_path))
    writer.hparams(
        {"seed": 3, "augment": True, "clip_global_norm": None, "stage": "x"},
        "photos-finetune",
    )
    writer.close()
    found = events(tmp_path, "test")
    ((_, value),) = found["_hparams_/session_start_info"]
    data = plugin_data_pb2.HParamsPluginData.FromString(
        value.metadata.plugin_data.content
    )
    # The page shows it as the name of the trial.
    assert data.session_start_info.group_name == "photos-finetune"
    hparams = data.session_start_info.hparams
    assert hparams["seed"].number_value == 3
    assert hparams["augment"].bool_value is True
    assert hparams["clip_global_norm"].string_value == "unset"
    assert hparams["stage"].string_value == "x"
