"""Checks what may differ between two starts of a run.

`EFFECTS` has the effect of each flag, from `fields.py`, and of each fact in
`FACTS`. If a value differs from that of the run in the workdir, RESULT is an
error, NUMERICS is a warning, and FREE is ignored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from shlex import quote
from typing import Any

from trainer.config import Config
from trainer.config.fields import (
    CONSTANT,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    FREE,
    NUMERICS,
    OFF,
    RESULT,
    TUTORIAL,
)
from trainer.config.recipes import BEFORE_RENDERING
from trainer.config.unfreeze import UnfreezePart, parse_parts
from trainer.errors import TrainerError, UsageError
from trainer.workdir import BACKBONE, CONFIG, Workdir

# config.json stores the facts about a run with the flags of its stage, and the
# facts about the machine in `environment`.
FACTS = {
    "data_fingerprint": RESULT,
    "class_names": RESULT,
    "weights_digest": RESULT,
    # In the order of the class names.
    "class_weight_values": RESULT,
    # How pixels are scaled for the backbone.
    "pixels": RESULT,
    "architecture_digest": RESULT,
    "tensorflow": NUMERICS,
    "keras": NUMERICS,
    "onednn": NUMERICS,
    "machine": NUMERICS,
    "processor": NUMERICS,
    "gpu_models": NUMERICS,
    "cpu_count": NUMERICS,
    "intra_op_threads": NUMERICS,
    "devices": NUMERICS,
    "replicas": NUMERICS,
    "processes": NUMERICS,
    # Does not affect results.
    "python": FREE,
}
EFFECTS = {
    **{name: field.metadata["effect"] for name, field in FIELDS.items()},
    **FACTS,
}
_RUN_FACTS = tuple(name for name in FACTS if FACTS[name] == RESULT)
# What a finetune must share with the feature_extract it continues.
_SAME_START = (
    "data_pct",
    "shots",
    "group_by",
    "task",
    "backbone",
    "backbone_args",
    "image_size",
    *BEFORE_RENDERING,
    "seed",
    "weights",
    "test_fraction",
    "train_split",
    "val_split",
    "test_split",
    "validation",
    "precision",
    "on_bad_image",
    "on_duplicate",
    *_RUN_FACTS,
)
# Unset flags that `run.resolve` sets, so that their record is never None.
_RESOLVED = (
    "backbone",
    "weights",
    "image_size",
    "learning_rate",
    "init_from_checkpoint",
)
# A path may change if its content is the same.
_BY_CONTENT = {
    "dataset": "data_fingerprint",
    "weights": "weights_digest",
    "class_weights": "class_weight_values",
}
_SHOWN_CHARS = 120


def run_record(config: Config, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that identify a run, for config.json.

    Args:
      config: the resolved configuration.
      facts: the known facts, by name. Facts about the data are unknown before
        it is read; `--weights=imagenet` and `none` have no `weights_digest`.
    """
    known = {name: facts.get(name) for name in _RUN_FACTS}
    return {**config.result_fields(), **known}


def backbone_facts(workdir: Workdir) -> dict[str, Any]:
    """Returns facts about the backbone in a workdir; {} without one."""
    stored = workdir.read_json(BACKBONE) or {}
    if "architecture" not in stored:
        return {}
    text = str(stored["architecture"]).encode()
    return {
        "pixels": stored.get("pixels"),
        "architecture_digest": hashlib.blake2b(
            text, digest_size=16
        ).hexdigest(),
    }


def check_same_run(
    workdir: Workdir, config: Config, record: Mapping[str, Any]
) -> None:
    """Checks that a workdir holds this run or no run.

    Args:
      workdir: the workdir to check.
      config: the resolved configuration of this run.
      record: the result of `run_record` for this run.

    Raises:
      TrainerError: the workdir holds another run; the message lists each field
        that differs, with both values.
    """
    runs = (workdir.read_json(CONFIG) or {}).get("runs", {})
    found: list[str] = []
    if config.stage in runs:
        found = differences(_with_defaults(runs[config.stage], record), record)
    elif FEATURE_EXTRACT in runs and config.stage == FINETUNE:
        before = _with_defaults(runs[FEATURE_EXTRACT], record)
        found = differences(
            {k: before.get(k) for k in _SAME_START},
            {k: record[k] for k in _SAME_START},
        )
    elif runs:
        raise TrainerError(
            f"--workdir={workdir.path!r}: holds a run of"
            f" --stage={next(iter(runs))}, which has its own feature_extract;"
            f" give another --workdir for --stage={config.stage}"
        )
    if found:
        raise TrainerError(
            f"--workdir={workdir.path!r}: was started with another"
            f" configuration ({'; '.join(found)}); repeat that one, or give"
            " another --workdir, to start from its weights with"
            f" {quote(f'--init_from={workdir.path}')}"
        )


def _with_defaults(
    stored: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Adds the defaults of flags that did not exist when the run started."""
    defaults = {
        name: FIELDS[name].default
        for name in asked.keys() & FIELDS.keys()
        if name not in _RESOLVED
    }
    found = {**defaults, **stored}
    for name, before in BEFORE_RENDERING.items():
        if name in asked and found.get(name) is None:
            found[name] = before
    if "augment" in found:
        # Up to 0.1.0 it was true or false.
        found["augment"] = {True: TUTORIAL, False: OFF}.get(
            found["augment"], found["augment"]
        )
    return found


def differences(
    stored: Mapping[str, Any], asked: Mapping[str, Any]
) -> list[str]:
    """Returns `--field was A, is B` for each difference that is not allowed.

    These are allowed: another path with the same content, a field or a fact
    that one side does not have, a larger `epochs`, and more epochs in the last
    of several parts of `unfreeze`.

    Args:
      stored: the record of the run in the workdir.
      asked: the record of this run.
    """
    found = []
    parted = any(_parts(record.get("unfreeze")) for record in (stored, asked))
    for name in stored.keys() & asked.keys():
        old, new = stored[name], asked[name]
        if old == new or (name in FACTS and None in (old, new)):
            continue
        if name in _BY_CONTENT and _same_content(name, stored, asked):
            continue
        if name == "epochs" and parted:
            # With parts, `epochs` is the sum of their epochs.
            continue
        if _is_longer(name, old, new):
            if _rate_depends_on_epochs(asked):
                found.append(
                    f"--{name} was {old!r}, is {new!r}, and the learning rates"
                    " depend on it"
                )
            continue
        flag = f"--{name}" if name in FIELDS else name
        old, new = _shown(old, new), _shown(new, old)
        found.append(f"{flag} was {old}, is {new}")
    return sorted(found)


def _is_longer(name: str, old: Any, new: Any) -> bool:
    """Returns whether the new value only adds epochs at the end."""
    if name == "epochs":
        return bool(new > old)
    if name != "unfreeze":
        return False
    before, now = _parts(old), _parts(new)
    return (
        len(before) == len(now) > 1
        and before[:-1] == now[:-1]
        and before[-1].rule == now[-1].rule
        and before[-1].epochs < now[-1].epochs
    )


def _parts(unfreeze: Any) -> tuple[UnfreezePart, ...]:
    """Returns the parts of an --unfreeze value; () if it is one rule."""
    try:
        return parse_parts(str(unfreeze))
    except UsageError:
        # The value may come from a damaged workdir.
        return ()


def _rate_depends_on_epochs(record: Mapping[str, Any]) -> bool:
    """Returns whether more epochs would change the rates of earlier steps."""
    schedule = record.get("schedule", CONSTANT)
    return bool(schedule != CONSTANT or 0 < record.get("warmup", 0.0) < 1)


def _shown(value: Any, other: Any) -> str:
    """Returns a value as a text; for a long list, only its own items."""
    text = repr(value)
    if len(text) > _SHOWN_CHARS and isinstance(value, list):
        own = [
            x for x in value if not isinstance(other, list) or x not in other
        ]
        text = f"{len(value)} with {repr(own)[1:-1]}" if own else text
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _same_content(
    name: str, stored: Mapping[str, Any], asked: Mapping[str, Any]
) -> bool:
    content = _BY_CONTENT[name]
    old, new = stored.get(content), asked.get(content)
    # Data that is not yet read counts as the same, and so do class weights,
    # which need its classes. A weights file is always read before; weights
    # that Keras downloads have no digest.
    unread = new is None and name != "weights"
    return old is not None and (unread or new == old)


def environment(config: Config, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that may change the last bits, for config.json.

    Args:
      config: the resolved configuration.
      facts: facts about the machine, and the resolved values of "auto" flags.
    """
    flags = {
        name: getattr(config, name)
        for name in FIELDS
        if EFFECTS[name] == NUMERICS
    }
    return {**flags, **facts}


def changed_numerics(
    stored: Mapping[str, Any], now: Mapping[str, Any]
) -> str | None:
    """Returns one warning for all changed NUMERICS values; None if none."""
    changes = [
        f"{name} was {stored[name]!r}, is {now[name]!r}"
        for name in sorted(stored.keys() & now.keys())
        if EFFECTS.get(name) == NUMERICS and stored[name] != now[name]
    ]
    if not changes:
        return None
    return (
        f"since the last start {'; '.join(changes)}: the last bits of the"
        " metrics may differ from those of an uninterrupted run"
    )
