"""The classifier as an ONNX model."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from trainer.errors import TrainerError, reason_of
from trainer.model.classifier import Classifier
from trainer.native_logs import native_notes_hidden
from trainer.results.frozen_graph import INPUT, OUTPUT, frozen_graph

# Of 2022; every runtime of today reads it.
_OPSET = 17


def onnx_model(classifier: Classifier, *, flip: bool = False) -> bytes:
    """Returns the content of an ONNX file.

    The input `images` is float32 (n, px, px, 3) in 0..255, the output
    `probabilities` float32 (n, classes).

    Args:
      classifier: in float32.
      flip: see `frozen_graph`.

    Raises:
      TrainerError: the model cannot be converted.
    """
    # A block that raises would show pages of notes.
    with _quiet():
        try:
            return _converted(classifier, flip)
        except Exception as error:
            # tf2onnx raises many types.
            reason = error
    raise TrainerError(
        "--export_formats=onnx: tf2onnx cannot convert the model"
        f" ({reason_of(reason)}); leave onnx out"
    ) from reason


def _converted(classifier: Classifier, flip: bool) -> bytes:
    import onnx
    import tf2onnx

    frozen = frozen_graph(classifier, batch=None, flip=flip)
    names = {frozen.inputs[0].name: INPUT, frozen.outputs[0].name: OUTPUT}
    model, _ = tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[frozen.inputs[0].name],
        output_names=[frozen.outputs[0].name],
        opset=_OPSET,
    )
    _rename(model.graph, names)
    # tf2onnx only logs an operation that it cannot convert.
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Renames tensors of an ONNX graph."""
    for node in graph.node:
        for tensors in (node.input, node.output):
            for place, name in enumerate(tensors):
                tensors[place] = names.get(name, name)
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    # Otherwise a made-up name such as unk__632.
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what tf2onnx and TensorFlow log, also errors that they survive."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with native_notes_hidden(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
