"""One row of the comparison, as probe.json holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainer.workdir.stored import check_shape

_NUMBER = (int, float)
_OPTIONAL = (int, float, type(None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A backbone's scores; those of a failed one are None.

    Attributes:
      key: digest of everything that the scores depend on.
      label: the backbone's text in `--backbones`.
      backbone: its name.
      backbone_args: as the flag of that name takes them.
      weights: as the flag of that name takes them; None for ImageNet weights.
      weights_origin: as the flag of that name takes it.
      image_px: side of the images.
      error: why it failed; "" if it did not.
      parameters: number of parameters of the backbone.
      megabytes: size of its weights in float32, in 10^6 bytes.
      head_accuracy: cross-validated accuracy of the exact head.
      head_interval: its 95 % Wilson interval.
      head_l2: the L2 strength of that head.
      neighbours_accuracy: of the nearest neighbours, on the same folds.
      class_mean_accuracy: of the nearest class mean, on the same folds.
      engine: what computed the features: graph, litert or step.
      images_per_second: speed of reading, decoding and backbone together; None
        if all features were cached and no earlier measurement is.
      images_timed: number of images that the speed was measured on in this
        run; 0 if all features were cached.
      seconds: time that the backbone took, from its start to its scores.
    """

    key: str
    label: str
    backbone: str
    backbone_args: str
    weights: str | None
    weights_origin: str | None
    image_px: int
    error: str = ""
    parameters: int | None = None
    megabytes: float | None = None
    head_accuracy: float | None = None
    head_interval: tuple[float, float] | None = None
    head_l2: float | None = None
    neighbours_accuracy: float | None = None
    class_mean_accuracy: float | None = None
    engine: str = ""
    images_per_second: float | None = None
    images_timed: int = 0
    seconds: float | None = None

    @property
    def accuracy(self) -> float:
        """The accuracy that rows are sorted by; -1 if the backbone failed."""
        return -1.0 if self.head_accuracy is None else self.head_accuracy

    def to_json(self) -> dict[str, Any]:
        """Returns the row as JSON-serializable values."""
        return dataclasses.asdict(self)


_SHAPE: Mapping[str, Any] = {
    "key": str,
    "label": str,
    "backbone": str,
    "backbone_args": str,
    "weights": (str, type(None)),
    "weights_origin": (str, type(None)),
    "image_px": int,
    "error": str,
    "parameters": int,
    "megabytes": _NUMBER,
    "head_accuracy": _NUMBER,
    "head_interval": [_NUMBER],
    "head_l2": _NUMBER,
    "neighbours_accuracy": _NUMBER,
    "class_mean_accuracy": _NUMBER,
    "engine": str,
    "images_per_second": _OPTIONAL,
    "images_timed": int,
    "seconds": _NUMBER,
}


def row_from_json(values: Any) -> Row | None:
    """Returns a complete row of probe.json; None for any other value.

    A failed backbone is not complete, so the next probe tries it again.
    """
    try:
        check_shape(values, _SHAPE)
        low, high = values["head_interval"]
    except ValueError:
        return None
    if values["error"]:
        return None
    known = {name: values[name] for name in _SHAPE}
    return Row(**{**known, "head_interval": (low, high)})
