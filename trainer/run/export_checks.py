"""Refuses formats that cannot be exported, before TensorFlow is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import util

from trainer.config import Config
from trainer.config.export_formats import check_backbone, parse_formats
from trainer.config.fields import ONNX
from trainer.errors import UsageError
from trainer.workdir import CONFIG, Workdir

_PACKAGES = {ONNX: ("tf2onnx", "onnx", "onnxruntime")}


def check_formats(config: Config) -> None:
    """Checks that packages are installed, and that the backbone converts.

    Args:
      config: of an export.

    Raises:
      UsageError: a package is missing, or the backbone is known to fail.
      TrainerError: config.json is no JSON.
    """
    formats = parse_formats(config.export_formats)
    for name in formats:
        missing = [
            package
            for package in _PACKAGES.get(name, ())
            if util.find_spec(package) is None
        ]
        if missing:
            raise UsageError(
                f"--export_formats={config.export_formats}: {name} needs the"
                f" packages {', '.join(missing)}; install them with"
                " pip install '.[export]', or leave it out"
            )
    assert config.workdir is not None
    stored = Workdir(config.workdir).read_json(CONFIG)
    run = stored.get("config") if isinstance(stored, Mapping) else None
    # The code that opens the workdir reports what is missing.
    if isinstance(run, Mapping):
        check_backbone(formats, str(run.get("backbone")))
