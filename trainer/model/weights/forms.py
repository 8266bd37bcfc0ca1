"""Detects the form of EfficientNetB0..B7 that a file was saved from.

The two forms differ by one Rescaling layer, which has no weights. So only a
file that lists layers without weights shows the form. The statistics of the
normalization do not: both forms have them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from trainer.errors import untrusted
from trainer.model.backbones import FORM_IMAGENET, FORM_KERAS_NONE
from trainer.model.weights import checkpoint, hdf5
from trainer.model.weights.saved_weights import DAMAGED, stem

_FIRST, _LAST = "normalization", "stem_conv"
# Between them is the stem's padding, in one form with a Rescaling before it.
_FORM_BY_GAP = {1: FORM_KERAS_NONE, 2: FORM_IMAGENET}
# Layers that no EfficientNet backbone has. A file with one of them is a whole
# classifier without a nested backbone, so a Rescaling may be the classifier's.
_KINDS = {
    "activation",
    "add",
    "batch_normalization",
    "conv2d",
    "depthwise_conv2d",
    "dropout",
    "global_average_pooling2d",
    "input_layer",
    "multiply",
    "normalization",
    "rescaling",
    "reshape",
    "zero_padding2d",
}


def form_of_file(label: str, path: str, kind: str) -> tuple[str | None, str]:
    """Returns the form that a file was saved from, and the evidence.

    Args:
      label: the flag and the file, for messages.
      path: the file, or a checkpoint's prefix.
      kind: the file's format; see `WeightsPlan.kind`.

    Returns:
      The form, or None if the file does not show it; and the evidence, as a
      predicate whose subject is the file.

    Raises:
      TrainerError: the file is damaged.
    """
    with untrusted(label, DAMAGED):
        return _form_of_file(label, path, kind)


def _form_of_file(label: str, path: str, kind: str) -> tuple[str | None, str]:
    if kind == hdf5.KERAS:
        config = hdf5.keras_config(label, path)
        return _by_names(hdf5.config_layer_names(config))
    if kind == checkpoint.TF_CHECKPOINT:
        gap = checkpoint.layers_between(label, path, _FIRST, _LAST)
        if gap in _FORM_BY_GAP:
            return _FORM_BY_GAP[gap], f"numbers {gap} layers before stem_conv"
        return None, "does not number its layers"
    with hdf5.open_hdf5(label, path, kind) as file:
        if kind == hdf5.WEIGHTS_H5:
            return _by_kinds(hdf5.layer_kinds(file))
        config = hdf5.legacy_config(file)
        return _by_names(
            [
                hdf5.legacy_layer_names(file),
                *hdf5.config_layer_names(config),
            ]
        )


def form_of_architecture(text: str) -> str:
    """Returns the form of an EfficientNetB0..B7 from its JSON architecture.

    Raises:
      ValueError: the architecture is not an EfficientNet.
    """
    names = hdf5.config_layer_names(json.loads(text))
    form, how = _by_names(names)
    if form is None:
        raise ValueError(f"not an EfficientNet: {how}")
    return form


def _by_names(models: Iterable[Sequence[str]]) -> tuple[str | None, str]:
    for names in models:
        if _LAST not in names:
            continue
        end = names.index(_LAST)
        starts = [i for i in range(end) if stem(names[i]) == _FIRST]
        between = names[starts[-1] + 1 : end] if starts else []
        form = _FORM_BY_GAP.get(len(between))
        if form:
            return form, f"lists {' and '.join(between)} before {_LAST}"
    return None, f"does not list the layers before {_LAST}"


def _by_kinds(models: Iterable[Sequence[str]]) -> tuple[str | None, str]:
    for kinds in models:
        if "depthwise_conv2d" not in kinds or "zero_padding2d" not in kinds:
            continue
        count = kinds.count("rescaling")
        if count == 1:
            return FORM_KERAS_NONE, "lists one Rescaling layer"
        if count == 2 and set(kinds) <= _KINDS:
            return FORM_IMAGENET, "lists two Rescaling layers"
        return None, f"lists {count} Rescaling layers, some perhaps not its own"
    return None, "does not list layers without weights"
