"""TensorBoard: metrics, images, the configuration as text, hparams."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.results.confusion import draw_confusion
from trainer.results.escaping import for_markdown, for_terminal, plot_style
from trainer.results.evaluation import Evaluation
from trainer.results.fonts import plot_labels

# The writer of the metrics at the end of a stage, for any split.
FINAL = "test"


class TensorBoardWriter:
    """Writes one event file per split, so all splits appear in one chart."""

    def __init__(self, folder: str, *, writes: bool = True) -> None:
        """Creates a writer.

        Args:
          folder: the folder of the event files.
          writes: whether this process writes event files.
        """
        self._folder = folder
        self._writes = writes
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def _writer(self, split: str) -> tf.summary.SummaryWriter:
        if not self._writes:
            return tf.summary.create_noop_writer()
        if split not in self._writers:
            self._writers[split] = tf.summary.create_file_writer(
                f"{self._folder}/{split}"
            )
        return self._writers[split]

    def open(self) -> None:
        """Opens an event file now, so that an unwritable folder fails early."""
        self._writer("train")

    def scalars(self, split: str, step: int, values: dict[str, float]) -> None:
        """Writes metrics of one split at an absolute step."""
        with self._writer(split).as_default():
            for tag, value in values.items():
                tf.summary.scalar(tag, value, step=step)

    def augmented(
        self, step: int, before: np.ndarray, after: np.ndarray
    ) -> None:
        """Writes images (n, px, px, 3) in 0..255, plain above augmented."""
        rows = np.concatenate([before, after], axis=1)
        strip = np.concatenate(list(np.clip(rows, 0, 255)), axis=1)
        with self._writer("train").as_default():
            tf.summary.image(
                "augmentation", strip[None].astype(np.uint8), step=step
            )

    def confusion(self, step: int, evaluation: Evaluation) -> None:
        """Writes the confusion matrix at the end of a stage as an image."""
        if not self._writes:
            return
        legend = plot_labels(evaluation.class_names).legend
        with self._writer(FINAL).as_default():
            tf.summary.image(
                "confusion_matrix",
                confusion_image(evaluation)[None],
                step=step,
            )
            if legend:
                rows = {k: for_markdown(v) for k, v in legend.items()}
                text = _markdown_table("number", "class", rows)
                tf.summary.text("confusion_matrix", text, step=step)

    def head_chart(self, step: int, image: np.ndarray) -> None:
        """Writes the chart of a solved head, uint8 (height, width, 3)."""
        with self._writer("train").as_default():
            tf.summary.image("head_path", image[None], step=step)

    def configuration(self, values: Mapping[str, Any]) -> None:
        """Writes a text page with every field of the configuration."""
        rows = {
            k: for_markdown(json.dumps(v, ensure_ascii=False))
            for k, v in values.items()
        }
        text = _markdown_table("field", "value", rows)
        with self._writer("train").as_default():
            tf.summary.text("configuration", text, step=0)

    def hparams(self, values: Mapping[str, Any], name: str) -> None:
        """Writes the run as a row of the hparams page.

        Args:
          values: the configuration.
          name: of the run, shown in the row.
        """
        if not self._writes:
            return
        from tensorboard.plugins.hparams import api

        with self._writer(FINAL).as_default():
            # The page supports only numbers, text and bools.
            api.hparams(
                {k: _hparam(v) for k, v in values.items()},
                trial_id=for_terminal(name),
            )

    def close(self) -> None:
        """Flushes and closes the event files."""
        for writer in self._writers.values():
            writer.close()


def _hparam(value: Any) -> Any:
    if value is None:
        return "unset"
    # A path may contain undecodable bytes, which the page cannot show.
    return for_terminal(value) if isinstance(value, str) else value


def _markdown_table(left: str, right: str, rows: Mapping[str, str]) -> str:
    body = [f"| {key} | {value} |" for key, value in rows.items()]
    return "\n".join([f"| {left} | {right} |", "|---|---|", *body])


def confusion_image(evaluation: Evaluation) -> np.ndarray:
    """Returns the confusion matrix as uint8 (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = evaluation.confusion
    labels = plot_labels(evaluation.class_names)
    side = min(3.0 + 0.45 * len(counts), 14.0)
    with plot_style(font__family=labels.families):
        figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        draw_confusion(axes, counts, labels.texts)
        axes.set_title(f"accuracy {evaluation.accuracy:.1%}")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
