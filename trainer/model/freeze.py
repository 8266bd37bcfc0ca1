"""The freeze plan: which variables a stage trains.

The plan is total: every variable of the classifier is trainable or frozen.
Frozen is about a variable; that every layer runs in inference mode is the
step's business, and holds in every stage.
"""

from __future__ import annotations

import dataclasses

import keras

from trainer.config.unfreeze import parse_unfreeze
from trainer.errors import UsageError
from trainer.model.classifier import Classifier


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer with weights: its counts of parameters."""

    name: str
    kind: str
    params: int
    trainable_params: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreezePlan:
    """What one stage trains.

    Attributes:
      unfreeze: the rule it came from; "none" trains the head only.
      unfrozen_layers: backbone layers the rule chose, with weights or not.
      trainable: keys of the trainable variables, in the model's order.
      frozen: keys of all other variables.
      rows: every layer that has weights, in order.
    """

    unfreeze: str
    unfrozen_layers: tuple[str, ...]
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    rows: tuple[LayerRow, ...]

    @property
    def total_params(self) -> int:
        """Parameters of the classifier, moving statistics included."""
        return sum(row.params for row in self.rows)

    @property
    def trainable_params(self) -> int:
        """Parameters in trainable variables."""
        return sum(row.trainable_params for row in self.rows)


def apply_freeze(classifier: Classifier, unfreeze: str) -> FreezePlan:
    """Sets `trainable` layer by layer, as Keras users do, and says what holds.

    Args:
      classifier: its Keras layers are changed in place.
      unfreeze: a legal `--unfreeze` value.

    Raises:
      UsageError: the rule matches no layer, or only layers without trainable
        variables.
    """
    backbone = classifier.backbone
    rule = parse_unfreeze(unfreeze)
    chosen = set(rule.choose([layer.name for layer in backbone.layers]))
    # Both steps are needed: single layers enabled in a frozen base leave
    # `backbone.trainable_variables` empty.
    backbone.trainable = bool(chosen)
    for position, layer in enumerate(backbone.layers):
        layer.trainable = position in chosen
    names = tuple(backbone.layers[i].name for i in sorted(chosen))
    if names and not backbone.trainable_variables:
        raise UsageError(
            f"--unfreeze={unfreeze!r}: none of its {len(names)} layers"
            f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            " has a variable to train; choose more, or none to train the"
            " head only"
        )
    trainable_ids = {id(v) for v in classifier.model.trainable_variables}
    keys = [
        (key, id(variable) in trainable_ids)
        for key, variable in classifier.variables.items()
    ]
    return FreezePlan(
        unfreeze=unfreeze,
        unfrozen_layers=names,
        trainable=tuple(key for key, trains in keys if trains),
        frozen=tuple(key for key, trains in keys if not trains),
        rows=tuple(
            _row(layer, trainable_ids)
            for layer in (*backbone.layers, classifier.head)
            # Not `variables`: a dropout's counter is no parameter.
            if layer.weights
        ),
    )


def _row(layer: keras.Layer, trainable_ids: set[int]) -> LayerRow:
    sizes = [(id(v), int(v.value.shape.num_elements())) for v in layer.weights]
    return LayerRow(
        name=layer.name,
        kind=type(layer).__name__,
        params=sum(size for _, size in sizes),
        trainable_params=sum(n for key, n in sizes if key in trainable_ids),
    )
