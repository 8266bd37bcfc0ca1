"""From a configuration to devices, data and a classifier."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import TPU
from trainer.data.check import BadImagesError
from trainer.data.manifest import Manifest, build_manifest
from trainer.data.sources import check_dataset
from trainer.distribute import devices, multi_worker, strategies
from trainer.distribute.processes import Processes
from trainer.distribute.topology import find_topology
from trainer.errors import TrainerError, one_line, untrusted
from trainer.model.architectures import (
    architecture_json,
    model_from_architecture,
)
from trainer.model.backbones import (
    Backbone,
    build_backbone,
    check_backbone,
    find_backbone,
    parse_backbone_args,
)
from trainer.model.classifier import Classifier, derived_seed, make_classifier
from trainer.model.pixels import CAFFE, RAW, TF, TORCH
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import WeightsPlan, plan_weights
from trainer.run.fast_paths import check_batch_fits, file_cache
from trainer.workdir import BACKBONE, Workdir


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RunSetup:
    """A configuration with everything that the flags alone decide.

    `xla`: whether the step asks for XLA, as it must not on a TPU.
    """

    config: Config
    backbone: Backbone
    backbone_args: dict[str, Any]
    weights: WeightsPlan
    strategy: tf.distribute.Strategy
    processes: Processes
    xla: bool
    deterministic: bool

    @property
    def compiled(self) -> bool:
        """Whether the step is compiled, by XLA or by the TPU's runtime."""
        return self.xla or strategies.on_tpu(self.strategy)


def prepare(config: Config) -> RunSetup:
    """Checks a training run's flags and sets up the devices.

    Raises:
      UsageError: wrong from the flags alone.
    """
    check_dataset(config.dataset)
    backbone = find_backbone(config.backbone_name)
    topology = find_topology(config.strategy, config.stage)
    kind = strategies.kind_of(config, topology)
    tpu = kind == TPU
    config = config.resolved(backbone.image_px, on_tpu=tpu)
    backbone_args = parse_backbone_args(config.backbone_args)
    assert config.image_size is not None and config.weights is not None
    check_backbone(config.backbone_name, backbone_args, config.image_size)
    check_batch_fits(
        config.batch_size // config.accumulate_steps, config.image_size
    )
    weights = plan_weights(
        config.weights,
        backbone=backbone,
        weights_origin=config.weights_origin,
    )
    if config.workdir is None:
        config = dataclasses.replace(config, workdir=config.default_workdir())
    devices.configure(
        config.logical_cpus, config.deterministic, config.gpus, tpu=tpu
    )
    strategy = strategies.make_strategy(
        kind,
        config.batch_size,
        config.logical_cpus,
        topology,
        tpu=config.tpu,
        parts=config.accumulate_steps,
    )
    return RunSetup(
        config=config,
        backbone=backbone,
        backbone_args=backbone_args,
        weights=weights,
        strategy=strategy,
        processes=multi_worker.processes_of(strategy, topology),
        xla=devices.use_xla(config.xla, tpu=tpu or bool(strategies.find_tpu())),
        deterministic=devices.use_determinism(config.deterministic, tpu=tpu),
    )


def read_manifest(
    config: Config, earlier: dict[str, Any] | None = None
) -> Manifest:
    """Finds, checks and splits the data of a resolved run.

    Raises:
      UsageError, TrainerError: see `build_manifest`. Where several images
        cannot be read, each is printed first: the message names one.
    """
    try:
        return _build_manifest(config, earlier)
    except BadImagesError as error:
        if len(error.bad) > 1:
            for bad in error.bad:
                print(f"cannot be used: {one_line(str(bad))}")
        raise


def _build_manifest(config: Config, earlier: dict[str, Any] | None) -> Manifest:
    return build_manifest(
        dataset=config.dataset,
        tfds_data_dir=config.tfds_data_dir,
        test_fraction=config.test_fraction,
        data_pct=config.data_pct,
        seed=config.seed,
        batch_size=config.batch_size,
        validation_fraction=config.validation_fraction,
        on_bad_image=config.on_bad_image,
        earlier=earlier,
        cache=file_cache(config),
    )


def new_classifier(
    request: RunSetup, num_classes: int, *, load: bool
) -> Classifier:
    """Builds the classifier from the flags.

    Args:
      request: of the run.
      num_classes: number of outputs.
      load: whether to load the backbone's weights; they stay random if not.
    """
    config = request.config
    architecture = _architecture(request)
    classifier = _from_architecture(
        architecture,
        pixels=request.backbone.pixels,
        num_classes=num_classes,
        config=config,
        strategy=request.strategy,
    )
    if load:

        def loaded() -> str:
            with request.strategy.scope():
                return load_weights(
                    classifier.backbone,
                    request.weights,
                    backbone=request.backbone,
                    backbone_args=request.backbone_args,
                )

        # What Keras downloads, one process has to download.
        said = request.processes.chief_first(loaded)
        print(one_line(said), flush=True)
    return classifier


def _architecture(request: RunSetup) -> str:
    """Of the backbone; what an earlier run has built is not built again."""
    config = request.config
    assert config.image_size is not None
    cache = file_cache(config)
    key_fields = {
        "kind": "architecture",
        "keras": keras.__version__,
        "backbone": config.backbone,
        "backbone_args": repr(sorted(request.backbone_args.items())),
        "image_px": config.image_size,
        "form": request.weights.form,
        "precision": config.precision,
    }
    content = cache.read(key_fields)
    if content is not None:
        return content.decode()
    # Layer names are numbered from where the process left off.
    keras.utils.clear_session()
    devices.set_precision(config.precision)
    architecture = architecture_json(
        build_backbone(
            config.backbone_name,
            request.backbone_args,
            config.image_size,
            form=request.weights.form,
        )
    )
    cache.write(key_fields, architecture.encode())
    return architecture


def _from_architecture(
    architecture: str,
    *,
    pixels: str,
    num_classes: int,
    config: Config,
    strategy: tf.distribute.Strategy,
) -> Classifier:
    """The one way to a classifier, for new runs and for resumed ones.

    Constructors and architectures name some variables differently, and
    checkpoints know variables by their names.
    """
    keras.utils.clear_session()
    devices.set_precision(config.precision)
    keras.utils.set_random_seed(derived_seed(config.seed, "backbone"))
    with strategy.scope():
        return make_classifier(
            model_from_architecture(architecture),
            pixels=pixels,
            num_classes=num_classes,
            seed=config.seed,
        )


def stored_classifier(
    workdir: Workdir, config: Config, strategy: tf.distribute.Strategy,
    num_classes: int,
) -> Classifier:  # fmt: skip
    """Rebuilds the classifier from the architecture in the workdir.

    Not from the constructor: what that builds depends on the weights asked
    for and on the Keras version.

    Raises:
      TrainerError: the architecture is missing, or cannot be built.
    """
    path = workdir.file(BACKBONE)
    remedy = "restore it, or use another --workdir"
    stored = workdir.read_json(BACKBONE)
    if stored is None:
        raise TrainerError(f"{path}: missing; {remedy}")
    with untrusted(path, remedy):
        architecture, pixels = stored["architecture"], stored.get("pixels")
        if pixels not in (RAW, TF, TORCH, CAFFE):
            raise ValueError(f"its pixels are {pixels!r}")
        if config.precision == "float32":
            # A run in bfloat16 can be used, and has to be exported, in
            # float32.
            architecture = architecture.replace("mixed_bfloat16", "float32")
        return _from_architecture(
            architecture,
            pixels=pixels,
            num_classes=num_classes,
            config=config,
            strategy=strategy,
        )
