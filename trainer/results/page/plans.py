"""Freeze plans as strips of trained and frozen layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from trainer.model.freeze import FreezePlan, LayerRow

_WIDTH = 360


def plan_facts(stage: str, plan: FreezePlan) -> dict[str, Any]:
    """Returns what the page says about the plan of one stage."""
    rows = plan.rows
    return {
        "stage": stage,
        "trainable": f"{plan.trainable_params:,}",
        "total": f"{plan.total_params:,}",
        "text": _text(plan),
        "layers": segments(rows, [1] * len(rows)),
        "parameters": segments(rows, [row.params for row in rows]),
    }


def _text(plan: FreezePlan) -> str:
    names = plan.unfrozen_layers
    if not names:
        return "The head is trained, and the whole backbone is frozen."
    return (
        f"--unfreeze={plan.unfreeze}: the head and {len(names)} layers of the"
        f" backbone, {names[0]} to {names[-1]}."
    )


def segments(
    rows: Sequence[LayerRow], sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Returns neighbouring layers of the same state as one segment each.

    Args:
      rows: the layers with weights, in order.
      sizes: the width of each layer, in any unit.
    """
    total = max(sum(sizes), 1)
    found, begin = [], 0
    pairs = zip(rows, sizes, strict=True)
    for trained, group in itertools.groupby(
        pairs, key=lambda pair: pair[0].trainable_params > 0
    ):
        part = list(group)
        size = sum(size for _, size in part)
        first, last = part[0][0].name, part[-1][0].name
        names = first if len(part) == 1 else f"{first} to {last}"
        found.append(
            {
                "trained": trained,
                "x": round(_WIDTH * begin / total, 2),
                "width": round(_WIDTH * size / total, 2),
                "title": f"{names}: {'trained' if trained else 'frozen'}",
            }
        )
        begin += size
    return found


def layer_rows(
    plans: Sequence[tuple[str, FreezePlan]],
) -> list[tuple[str, str, str, str]]:
    """Returns name, type and size of each layer, and the stages it trains in.

    Args:
      plans: the plan of each stage of a run, by its name.
    """
    found = []
    for number, row in enumerate(plans[-1][1].rows if plans else ()):
        stages = [
            stage for stage, plan in plans if plan.rows[number].trainable_params
        ]
        found.append(
            (row.name, row.kind, f"{row.params:,}", ", ".join(stages) or "-")
        )
    return found
