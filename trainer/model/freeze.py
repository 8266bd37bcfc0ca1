"""The freeze plan: which variables a stage trains.

The plan is total: it lists every variable of the classifier as trainable or
frozen. It does not decide how layers run: the training step runs every layer
in inference mode, in every stage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from trainer.config.unfreeze import flag_of, parse_unfreeze
from trainer.errors import UsageError
from trainer.model.classifier import Classifier


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerRow:
    """The parameter counts of one layer."""

    name: str
    kind: str
    params: int
    trainable_params: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreezePlan:
    """The trainable and the frozen variables of one stage.

    Attributes:
      unfreeze: the rule that the plan was made from; "none" trains the head
        only.
      unfrozen_layers: names of the backbone layers that the rule chose, layers
        without weights included.
      trainable: keys of the trainable variables, in the model's order.
      frozen: keys of all other variables, in the model's order.
      rows: one row for every layer that has weights, in order.
    """

    unfreeze: str
    unfrozen_layers: tuple[str, ...]
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    rows: tuple[LayerRow, ...]

    @property
    def total_params(self) -> int:
        """Number of parameters, moving statistics included."""
        return sum(row.params for row in self.rows)

    @property
    def trainable_params(self) -> int:
        """Number of parameters in trainable variables."""
        return sum(row.trainable_params for row in self.rows)


def freeze_plan(
    classifier: Classifier, unfreeze: str, *, part: int = 0
) -> FreezePlan:
    """Returns the freeze plan of a stage; changes nothing.

    The trainable variables are those that Keras lists in
    `classifier.model.trainable_variables` after `set_trainable`.

    Args:
      classifier: the classifier; its current `trainable` flags do not matter.
      unfreeze: a valid rule of `--unfreeze`, without epochs.
      part: the number of its part, for error messages; 0 if there is only one.

    Raises:
      UsageError: the rule matches no layer, or only layers without trainable
        variables.
    """
    layers = classifier.backbone.layers
    rule = parse_unfreeze(unfreeze, part)
    chosen = rule.choose([layer.name for layer in layers])
    unfrozen = [layers[position] for position in chosen]
    names = tuple(layer.name for layer in unfrozen)
    trained = _trained_keys(classifier, unfrozen)
    if unfrozen and not trained:
        raise UsageError(
            f"{flag_of(unfreeze, part)}: none of its {len(names)} layers"
            f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            " has a variable to train; choose more, or none to train the"
            " head only"
        )
    trained |= _trained_keys(classifier, [classifier.head])
    trained_ids = {id(classifier.variables[key]) for key in trained}
    return FreezePlan(
        unfreeze=unfreeze,
        unfrozen_layers=names,
        trainable=tuple(k for k in classifier.variables if k in trained),
        frozen=tuple(k for k in classifier.variables if k not in trained),
        rows=tuple(
            _row(layer, trained_ids)
            for layer in (*layers, classifier.head)
            # Not `variables`: a dropout's seed is not a parameter.
            if layer.weights
        ),
    )


def set_trainable(classifier: Classifier, plan: FreezePlan) -> None:
    """Sets `trainable` on the backbone and its layers, as Keras users do.

    Training steps read the plan, not these flags. Keras reads them in `fit`,
    in `trainable_variables`, and when it saves a model.

    Args:
      classifier: the classifier that `plan` was made for; changed in place.
      plan: which layers to unfreeze.
    """
    backbone = classifier.backbone
    # Both steps are needed: while the backbone itself is frozen, its
    # `trainable_variables` is empty, whatever its layers say.
    backbone.trainable = bool(plan.unfrozen_layers)
    unfrozen = set(plan.unfrozen_layers)
    for layer in backbone.layers:
        layer.trainable = layer.name in unfrozen


def _trained_keys(
    classifier: Classifier, layers: Sequence[keras.layers.Layer]
) -> set[str]:
    """Returns the keys of the variables that unfrozen layers train."""
    ids = {id(variable) for layer in layers for variable in layer.variables}
    return {
        key
        for key in classifier.can_train
        if id(classifier.variables[key]) in ids
    }


def _row(layer: keras.layers.Layer, trained_ids: set[int]) -> LayerRow:
    sizes = [(id(v), int(v.value.shape.num_elements())) for v in layer.weights]
    return LayerRow(
        name=layer.name,
        kind=type(layer).__name__,
        params=sum(size for _, size in sizes),
        trainable_params=sum(size for key, size in sizes if key in trained_ids),
    )
