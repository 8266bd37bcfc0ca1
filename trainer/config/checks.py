"""Checks a configuration by its values alone, without files or devices."""

from __future__ import annotations

from trainer.config.backbone_specs import parse_backbones
from trainer.config.backgrounds import parse_background
from trainer.config.export_formats import check_export
from trainer.config.fields import (
    ADAM,
    ADAMW,
    AUTO,
    CHECK_DATA,
    COMPARE,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    FIT_STAGES,
    LBFGS,
    LR_FIND,
    OFF,
    PREDICT,
    PROBE,
    REPORT,
    SEARCH,
    SGD,
    SOUP,
    STUDY,
    TPU,
    USING_STAGES,
    Fields,
)
from trainer.config.grouping import parse_group_by
from trainer.config.mixing import parse_mix
from trainer.config.ranges import (
    check_choice,
    check_range,
    parse_gpus,
    parse_l2,
    parse_models,
    parse_profile,
    parse_workdirs,
)
from trainer.config.split_names import (
    SPLIT_FLAGS,
    check_split_name,
    flag_of,
)
from trainer.config.table_columns import parse_columns
from trainer.config.tasks import check_task
from trainer.config.unfreeze import parse_parts
from trainer.config.validation import KFOLD, fold_value, parse_validation
from trainer.errors import UsageError
from trainer.storage import files

# TensorFlow treats a path with any of these as a glob pattern.
_PATTERN = frozenset("*?[\\")
_MOMENTUM = FIELDS["momentum"].default
_DATA_PCT = FIELDS["data_pct"].default


def check_fields(fields: Fields) -> None:
    """Checks each value, and that no two values exclude each other.

    Raises:
      UsageError: a value is illegal; the message names the first one.
    """
    for name, field in FIELDS.items():
        value = getattr(fields, name)
        check_choice(name, value, field.metadata["choices"])
        check_range(name, value, field.default)
    _check_unfreeze(fields)
    _check_optimizer(fields)
    parse_mix(fields.mix)
    parse_background(fields.background)
    parse_models(fields.models)
    if fields.stage in (COMPARE, SOUP):
        parse_workdirs(fields.workdirs or "")
    if fields.validation is not None:
        rule = parse_validation(fields.validation)
        if fields.stage == LR_FIND and rule.mode == KFOLD:
            raise UsageError(
                f"--validation={fields.validation}: {LR_FIND} trains one run,"
                " not one per fold; give one fold, such as"
                f" {fold_value(1, rule.folds)}"
            )
    _check_data(fields)
    check_task(fields)
    if fields.backbones is not None:
        parse_backbones(fields.backbones)
    if fields.profile is not None:
        parse_profile(fields.profile)
    _check_l2(fields)
    check_export(fields)
    _check_batch(fields)
    _check_devices(fields)
    _check_required(fields)
    _check_paths(fields)


def _check_unfreeze(fields: Fields) -> None:
    parts = parse_parts(fields.unfreeze)
    if parts and fields.stage in (STUDY, LR_FIND, SEARCH):
        remedy = "" if fields.stage == LR_FIND else ", and --epochs"
        raise UsageError(
            f"--unfreeze={fields.unfreeze!r}: --stage={fields.stage} cannot"
            f" fine-tune in parts; give one rule without @{remedy}"
        )


def _check_data(fields: Fields) -> None:
    parse_columns(fields.columns)
    parse_group_by(fields.group_by)
    if fields.shots is not None and fields.data_pct != _DATA_PCT:
        raise UsageError(
            f"--shots={fields.shots}: not possible with"
            f" --data_pct={fields.data_pct:g}; leave one of them out"
        )


def _check_l2(fields: Fields) -> None:
    if parse_l2(fields.head_l2) is not None and fields.head_solver != LBFGS:
        follows = fields.stage in (FINETUNE, LR_FIND)
        if follows and fields.init_from is not None:
            raise UsageError(
                f"--head_l2={fields.head_l2}: not read with --init_from, whose"
                f" head {fields.stage} starts from; leave one of them out"
            )
        raise UsageError(
            f"--head_l2={fields.head_l2}: read only with"
            f" --head_solver={LBFGS}; give that too, or leave it out"
        )


def _check_optimizer(fields: Fields) -> None:
    if fields.weight_decay and fields.optimizer == ADAM:
        raise UsageError(
            f"--weight_decay={fields.weight_decay:g}: not read with"
            f" --optimizer={ADAM}; give --optimizer={ADAMW}, which is Adam"
            " with weight decay"
        )
    if fields.optimizer != SGD and fields.momentum != _MOMENTUM:
        raise UsageError(
            f"--momentum={fields.momentum:g}: read only with"
            f" --optimizer={SGD}; give that too, or leave it out"
        )


def check_views(fields: Fields) -> None:
    """Checks that the views of `--head_views` vary, and can be cached.

    Args:
      fields: of a training run.

    Raises:
      UsageError: another flag leaves nothing to vary or to cache.
    """
    if not fields.head_views:
        return
    problems = {
        "--augment=off": fields.augment == OFF,
        "--cache=off": fields.cache == OFF,
        "--trunk_engine=step": fields.trunk_engine == "step",
    }
    for flag, given in problems.items():
        if given:
            raise UsageError(
                f"--head_views={fields.head_views}: not possible with {flag},"
                " because it caches features of augmented images; leave one"
                " of them out"
            )
    if fields.stage in (FINETUNE, LR_FIND, SEARCH):
        for flag, given in {
            "--head_epochs=0": not fields.head_epochs,
            "--init_from": fields.init_from is not None,
        }.items():
            if given:
                raise UsageError(
                    f"--head_views={fields.head_views}: read by"
                    f" feature_extract only, which does not run with {flag};"
                    " leave one of them out"
                )


def check_images(fields: Fields) -> None:
    """Checks that --mix and --erasing have images to work on.

    Args:
      fields: the fields of a training run.

    Raises:
      UsageError: one of them is given, but training reads cached features; or
        --mix is given, but a batch has only one image.
    """
    changes = {
        f"--mix={fields.mix}": fields.mix != OFF,
        f"--erasing={fields.erasing:g}": fields.erasing > 0,
    }
    for flag, given in changes.items():
        if not given:
            continue
        if fields.stage == FEATURE_EXTRACT and fields.augment == OFF:
            raise UsageError(
                f"{flag}: needs images, but feature_extract trains on cached"
                " features with --augment=off; give --augment=mild, tutorial"
                " or trivial, or leave it out"
            )
        if fields.head_views and fields.head_solver != LBFGS:
            raise UsageError(
                f"{flag}: needs images, but the head trains on cached"
                f" features with --head_views={fields.head_views}; leave one"
                " of them out"
            )
    if fields.mix != OFF and fields.batch_size == 1:
        raise UsageError(
            f"--mix={fields.mix}: mixes the images of a batch, but"
            " --batch_size=1; give a larger batch, or leave --mix out"
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
    stages = (*FIT_STAGES, CHECK_DATA, LR_FIND, PROBE, SEARCH)
    if fields.stage in stages and not fields.dataset:
        raise UsageError(
            "--dataset='': no data named; give a folder of photos"
            " (train/CLASS/*.jpg or CLASS/*.jpg), a TFDS name such as"
            " tf_flowers, food10 or demo"
        )
    if fields.stage in (*USING_STAGES, REPORT) and not fields.workdir:
        raise UsageError(
            f"--workdir='': --stage={fields.stage} needs the workdir of the"
            f" run to {fields.stage}; give --workdir=FOLDER"
        )
    if fields.stage == SOUP and not fields.workdir:
        raise UsageError(
            f"--workdir='': --stage={SOUP} needs a folder for the averaged"
            " weights; give a new folder as --workdir=FOLDER"
        )
    if fields.stage == SOUP:
        assert fields.workdir
        assert fields.workdirs
        sources = map(files.absolute, parse_workdirs(fields.workdirs))
        if files.absolute(fields.workdir) in sources:
            raise UsageError(
                f"--workdir={fields.workdir!r}: is also one of --workdirs; give"
                " a new folder, to which the averaged weights are written"
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
    for split in SPLIT_FLAGS:
        named = getattr(fields, flag_of(split))
        if named is not None:
            check_split_name(split, named)
    for name in ("tfds_data_dir", "workdir", "init_from", "write_list"):
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
