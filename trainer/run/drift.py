"""What may differ between two starts of a run, and what comes of it.

`EFFECTS` is the one table: the flags, with the effects that `fields.py` gives
them, and the facts that are no flags. Where one of them differs from what a
workdir was started with, RESULT is refused, NUMERICS is warned of and
recorded, FREE passes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from trainer.config import Config
from trainer.config.fields import (
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    FREE,
    NUMERICS,
    RESULT,
)
from trainer.errors import TrainerError
from trainer.workdir import BACKBONE, CONFIG, Workdir

# Facts of the run are kept beside the flags of the stage that began with
# them, those of the machine in `environment`.
FACTS = {
    "data_fingerprint": RESULT,
    "class_names": RESULT,
    "weights_digest": RESULT,
    # How a pixel is scaled for the backbone.
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
    # Computes nothing that lasts.
    "python": FREE,
}
EFFECTS = {
    **{name: field.metadata["effect"] for name, field in FIELDS.items()},
    **FACTS,
}
_RUN_FACTS = tuple(name for name in FACTS if FACTS[name] == RESULT)
# What a finetune must share with the feature_extract it goes on from.
_SAME_START = (
    "data_pct",
    "backbone",
    "backbone_args",
    "image_size",
    "seed",
    "weights",
    "test_fraction",
    "precision",
    "on_bad_image",
    *_RUN_FACTS,
)
# A path may change where what it leads to is the same.
_BY_CONTENT = {"dataset": "data_fingerprint", "weights": "weights_digest"}
_SHOWN_CHARS = 120


def run_record(config: Config, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json keeps of a run to know it again.

    Args:
      config: resolved.
      facts: those of `FACTS` that are RESULT, as far as they are known: the
        data's before it was read are not, and imagenet and none have no
        `weights_digest`.
    """
    known = {name: facts.get(name) for name in _RUN_FACTS}
    return {**config.result_fields(), **known}


def backbone_facts(workdir: Workdir) -> dict[str, Any]:
    """The facts of the backbone that a workdir holds; {} where it has none."""
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
    """Refuses to go on in a workdir that was started as another run.

    Raises:
      TrainerError: naming each field that differs, with both values.
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
            f" --stage={next(iter(runs))}, which did feature_extract itself,"
            f" and --stage={config.stage} is asked for; give another --workdir"
        )
    if found:
        raise TrainerError(
            f"--workdir={workdir.path!r}: was started with another"
            f" configuration ({'; '.join(found)}); repeat that one, or give"
            " another --workdir (--init_from takes over the weights)"
        )


def _with_defaults(
    stored: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Adds flags that did not exist yet: what they do now, unset, was done."""
    defaults = {
        name: FIELDS[name].default
        for name in asked.keys() & FIELDS.keys()
        if FIELDS[name].default is not None
    }
    return {**defaults, **stored}


def differences(
    stored: Mapping[str, Any], asked: Mapping[str, Any]
) -> list[str]:
    """`--field was A, is B` for each field that makes it another run.

    A path whose content is the same is no difference, a field that either
    side lacks and a fact that either does not know are none, and `epochs` may
    grow.
    """
    found = []
    for name in stored.keys() & asked.keys():
        old, new = stored[name], asked[name]
        if old == new or (name in FACTS and None in (old, new)):
            continue
        if name in _BY_CONTENT and _same_content(name, stored, asked):
            continue
        if name == "epochs" and new > old:
            continue
        flag = f"--{name}" if name in FIELDS else name
        old, new = _shown(old, new), _shown(new, old)
        found.append(f"{flag} was {old}, is {new}")
    return sorted(found)


def _shown(value: Any, other: Any) -> str:
    """A value on one line; of a long list, what the other has not."""
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
    # Data that was not read yet gets the benefit of the doubt. Weights were
    # always read, and those of Keras have no digest.
    unread = new is None and name == "dataset"
    return old is not None and (unread or new == old)


def environment(config: Config, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json keeps of where and how a run was computed.

    Args:
      config: resolved.
      facts: of the machine, and what became of flags that were left to it.
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
    """The one warning for all that may change the last bits, if any has."""
    changes = [
        f"{name} was {stored[name]!r}, is {now[name]!r}"
        for name in sorted(stored.keys() & now.keys())
        if EFFECTS.get(name) == NUMERICS and stored[name] != now[name]
    ]
    if not changes:
        return None
    return (
        f"since the last start {'; '.join(changes)}: the last bits of the"
        " figures may differ from those of a run in one piece"
    )
