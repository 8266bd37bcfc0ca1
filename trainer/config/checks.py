"""Checks a configuration by its values alone, without files or devices."""

from __future__ import annotations

from trainer.config.fields import (
    AUTO,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    FIT_STAGES,
    LBFGS,
    PREDICT,
    STUDY,
    TPU,
    USING_STAGES,
    Fields,
)
from trainer.config.ranges import (
    check_choice,
    check_range,
    parse_gpus,
    parse_l2,
    parse_models,
)
from trainer.config.unfreeze import parse_unfreeze
from trainer.errors import UsageError
from trainer.storage import files

# TensorFlow treats a path with any of these as a glob pattern.
_PATTERN = frozenset("*?[\\")
# What a stage does not read if its head is solved: there are no steps, and the
# images are not augmented.
_UNREAD_BY_SOLVER = {
    FEATURE_EXTRACT: (
        "augment",
        "clip_global_norm",
        "epochs",
        "learning_rate",
        "scale_lr",
    ),
    FINETUNE: ("head_epochs", "head_learning_rate"),
    STUDY: ("head_epochs", "head_learning_rate"),
}


def check_fields(fields: Fields) -> None:
    """Checks each value, and that no two values exclude each other.

    Raises:
      UsageError: a value is illegal; the message names the first one.
    """
    for name, field in FIELDS.items():
        value = getattr(fields, name)
        check_choice(name, value, field.metadata["choices"])
        check_range(name, value, field.default)
    parse_unfreeze(fields.unfreeze)
    parse_models(fields.models)
    _check_l2(fields)
    _check_batch(fields)
    _check_devices(fields)
    _check_required(fields)
    _check_paths(fields)


def check_given(stage: str, given: frozenset[str]) -> None:
    """Rejects flags that the stage does not read.

    Args:
      stage: a legal stage.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: there is such a flag; the message names the first one.
    """
    for name in sorted(given & FIELDS.keys()):
        stages = FIELDS[name].metadata["stages"]
        if stage not in stages:
            raise UsageError(
                f"--{name}: not read by --stage={stage}, only by"
                f" {', '.join(stages)}; leave it out"
            )


def check_solved_head(fields: Fields, given: frozenset[str]) -> None:
    """Rejects flags that a run with `--head_solver=lbfgs` does not read.

    Args:
      fields: the fields of the configuration.
      given: the names of the flags that were given explicitly.

    Raises:
      UsageError: there is such a flag; the message names the first one.
    """
    if fields.head_solver != LBFGS:
        return
    for name in _UNREAD_BY_SOLVER.get(fields.stage, ()):
        if name in given:
            raise UsageError(
                f"--{name}: not read with --head_solver={LBFGS}, which solves"
                " the head exactly, on un-augmented images and without"
                " training steps; leave it out, or give --head_solver=adam"
            )
    if fields.stage == FINETUNE and fields.init_from is not None:
        raise UsageError(
            f"--head_solver={LBFGS}: not read with --init_from, whose head"
            " finetune starts from; leave one of them out"
        )


def _check_l2(fields: Fields) -> None:
    if parse_l2(fields.head_l2) is not None and fields.head_solver != LBFGS:
        raise UsageError(
            f"--head_l2={fields.head_l2}: read only with"
            f" --head_solver={LBFGS}; give that too, or leave it out"
        )


def _check_batch(fields: Fields) -> None:
    if fields.batch_size % fields.accumulate_steps:
        raise UsageError(
            f"--accumulate_steps={fields.accumulate_steps}: does not divide"
            f" --batch_size={fields.batch_size} into equal parts; give a"
            " divisor of it"
        )


def _check_devices(fields: Fields) -> None:
    if fields.gpus is not None:
        parse_gpus(fields.gpus)
    named = "--strategy=tpu" if fields.strategy == TPU else ""
    if fields.tpu is not None:
        named = f"--tpu={fields.tpu!r}"
        remedy = "give local or a TPU's name, with --strategy=tpu or auto"
        if not fields.tpu.strip():
            raise UsageError(f"{named}: not possible; {remedy}")
        if fields.strategy not in (AUTO, TPU):
            raise UsageError(
                f"{named}: not possible with --strategy={fields.strategy};"
                f" {remedy}"
            )
    if named and fields.gpus is not None:
        raise UsageError(
            f"{named}: not possible with --gpus={fields.gpus}; leave one of"
            " them out"
        )
    if named and fields.xla == "off":
        raise UsageError(
            f"--xla=off: not possible with {named}, because a TPU always"
            " compiles; give --xla=auto"
        )


def _check_required(fields: Fields) -> None:
    if fields.stage in FIT_STAGES and not fields.dataset:
        raise UsageError(
            "--dataset='': no data named; give a folder of photos"
            " (train/CLASS/*.jpg or CLASS/*.jpg), a TFDS name such as"
            " tf_flowers, food10 or demo"
        )
    if fields.stage in USING_STAGES and not fields.workdir:
        raise UsageError(
            f"--workdir='': --stage={fields.stage} needs the workdir of the"
            f" run to {fields.stage}; give --workdir=FOLDER"
        )
    if fields.stage == PREDICT and not fields.inputs:
        raise UsageError(
            "--inputs='': --stage=predict needs images; give a file, a"
            " folder, a glob in quotes, or - for a list on standard input"
        )


def _check_paths(fields: Fields) -> None:
    # TensorFlow accepts only UTF-8 paths. Python reads --dataset and --inputs,
    # and accepts any name.
    for name in FIELDS.keys() - {"dataset", "inputs"}:
        value = getattr(fields, name)
        if isinstance(value, str) and not _is_utf8(value):
            raise UsageError(
                f"--{name}={value!r}: not UTF-8; rename it, or give another"
            )
    for name in ("tfds_data_dir", "workdir", "init_from"):
        if getattr(fields, name) == "":
            raise UsageError(
                f"--{name}='': an empty path; give a folder, or leave the"
                " flag out"
            )
    if fields.cache_dir and files.is_remote(fields.cache_dir):
        raise UsageError(
            f"--cache_dir={fields.cache_dir!r}: a URL, but the cache needs a"
            " local disk; give a folder on a disk of this machine, or leave"
            " the flag out"
        )
    for name in ("workdir", "init_from"):
        path = getattr(fields, name) or ""
        if set(path) & _PATTERN:
            raise UsageError(
                f"--{name}={path!r}: TensorFlow treats a path with any of"
                f" {' '.join(sorted(_PATTERN))} as a pattern and would not"
                " find its checkpoints; give a path without them"
            )


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
