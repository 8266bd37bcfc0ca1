"""Finds wrong paths and names before TensorFlow is imported.

That import takes seconds. The same errors would be raised later, so this only
looks at what is quick to see.
"""

from __future__ import annotations

import os

from trainer.config import Config
from trainer.config.fields import (
    EMBED,
    EXPORT,
    FIELDS,
    MULTILABEL,
    REPORT,
    USING_STAGES,
)
from trainer.data.dataset_flag import check_dataset
from trainer.data.folder import open_folder
from trainer.model.backbone_table import BACKBONES, no_such_backbone
from trainer.results.input_files import find_inputs
from trainer.run.export_checks import check_formats
from trainer.storage import files
from trainer.storage.paths import is_remote
from trainer.workdir import Workdir

# They read a workdir.
_READING_STAGES = (*USING_STAGES, EMBED, REPORT)


def check_paths(config: Config) -> None:
    """Checks the workdir, data set, inputs and backbone that flags name.

    URLs are not looked at, because TensorFlow reads them.

    Raises:
      UsageError: something does not exist, or cannot be exported.
      TrainerError: the folder of the data set holds no other folder.
    """
    if config.stage in _READING_STAGES and config.workdir:
        _require("workdir", config.workdir)
        if config.stage == EXPORT and not is_remote(config.workdir):
            check_formats(config)
    if config.init_from:
        _require("init_from", config.init_from)
    if config.backbone and config.backbone not in BACKBONES:
        raise no_such_backbone(config.backbone, sorted(BACKBONES))
    if config.inputs and config.inputs != "-" and not is_remote(config.inputs):
        given = os.path.expanduser(config.inputs)
        if not files.exists(given) and not files.glob(given):
            find_inputs(config.inputs)
    if _reads("dataset", config) and not is_remote(config.dataset):
        _check_data(config)


def _reads(name: str, config: Config) -> bool:
    return config.stage in FIELDS[name].metadata["stages"]


def _require(flag: str, path: str) -> None:
    if not is_remote(path):
        Workdir(path).require(flag)


def _check_data(config: Config) -> None:
    check_dataset(config.dataset)
    path = os.path.expanduser(config.dataset)
    # A run decides which folders `evaluate` and others may read.
    of_run = config.stage in _READING_STAGES or config.task == MULTILABEL
    if of_run or not files.is_dir(path):
        return
    if not any(files.is_dir(os.path.join(path, n)) for n in files.names(path)):
        open_folder(
            path,
            dataset=config.dataset,
            test_fraction=config.test_fraction,
        )
