"""Builds the classifier of a run, from the flags or from its workdir."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import MULTILABEL
from trainer.data.manifest import Manifest
from trainer.distribute import devices
from trainer.errors import TrainerError, one_line, untrusted
from trainer.learning.restoring import restore_variables
from trainer.learning.start import Start
from trainer.model.architectures import (
    architecture_json,
    model_from_architecture,
)
from trainer.model.backbone_table import CAFFE, RAW, TF, TORCH
from trainer.model.backbones import build_backbone
from trainer.model.classifier import Classifier, derived_seed, make_classifier
from trainer.model.freeze import freeze_plan
from trainer.model.weights.forms import form_of_architecture
from trainer.model.weights.load import load_weights
from trainer.run.caches import file_cache
from trainer.run.prepare import RunSetup
from trainer.workdir import BACKBONE, Workdir


def first_classifier(
    setup: RunSetup, workdir: Workdir, start: Start, manifest: Manifest
) -> Classifier:
    """Returns the classifier with which a run starts or resumes.

    If the classifier is new, its architecture is written to the workdir.

    Args:
      setup: the setup of the run.
      workdir: the workdir of the run.
      start: where the weights come from.
      manifest: the samples; the head has one output per class.

    Raises:
      UsageError: the `--unfreeze` rule of any stage matches no layer.
      TrainerError: the weights or the architecture cannot be read.
    """
    num_classes = len(manifest.class_names)
    stored = not (start.fresh or start.warm)
    if stored:
        classifier = stored_classifier(
            workdir, setup.config, setup.runtime.strategy, num_classes
        )
    else:
        if start.warm:
            setup = _in_form_of_source(setup)
        classifier = new_classifier(setup, num_classes, load=start.fresh)
    # Checks the rules of all stages before the first one is trained.
    for spec in start.stages:
        freeze_plan(classifier, spec.unfreeze, part=spec.part)
    if not stored:
        workdir.write_json(
            BACKBONE,
            {
                "backbone": setup.config.backbone,
                "pixels": classifier.pixels,
                "architecture": architecture_json(classifier.backbone),
            },
        )
    if start.checkpoint:
        restore_variables(start.checkpoint, classifier.variables)
    return classifier


def _in_form_of_source(setup: RunSetup) -> RunSetup:
    """Returns the setup with the EfficientNet form of `--init_from`.

    Keras builds EfficientNet in two forms. The weights of one form can be
    loaded into the other, but the features then differ.
    """
    assert setup.config.init_from is not None
    workdir = Workdir(setup.config.init_from)
    source = workdir.read_json(BACKBONE)
    if source is None or not setup.backbone.has_imagenet_form:
        return setup
    with untrusted(workdir.file(BACKBONE), "restore it, or use another run"):
        form = form_of_architecture(source["architecture"])
    weights = dataclasses.replace(setup.weights, form=form)
    return dataclasses.replace(setup, weights=weights)


def new_classifier(
    setup: RunSetup, num_classes: int, *, load: bool
) -> Classifier:
    """Builds the classifier from the flags.

    Args:
      setup: the setup of the run.
      num_classes: number of outputs.
      load: whether to load the backbone's weights; otherwise they are random.
    """
    config = setup.config
    architecture = _architecture(setup)
    classifier = _from_architecture(
        architecture,
        pixels=setup.backbone.pixels,
        num_classes=num_classes,
        config=config,
        strategy=setup.runtime.strategy,
    )
    if load:

        def loaded() -> str:
            with setup.runtime.strategy.scope():
                return load_weights(
                    classifier.backbone,
                    setup.weights,
                    backbone=setup.backbone,
                    backbone_args=setup.backbone_args,
                )

        # The chief downloads for all processes.
        said = setup.runtime.processes.chief_first(loaded)
        print(one_line(said), flush=True)
    return classifier


def _architecture(setup: RunSetup) -> str:
    """Returns the backbone's architecture as JSON, cached between runs."""
    config = setup.config
    cache = file_cache(config)
    key_fields = {
        "kind": "architecture",
        "keras": keras.__version__,
        "backbone": config.backbone,
        "backbone_args": repr(sorted(setup.backbone_args.items())),
        "image_px": config.image_size,
        "form": setup.weights.form,
        "precision": config.precision,
    }
    content = cache.read(key_fields)
    if content is not None:
        return content.decode()
    # Without this, Keras continues the numbering of layer names from the last
    # model of the process.
    keras.utils.clear_session()
    devices.set_precision(config.precision)
    architecture = architecture_json(
        build_backbone(
            config.backbone,
            setup.backbone_args,
            config.image_size,
            form=setup.weights.form,
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
    """Builds a classifier from JSON, for both new and resumed runs.

    A backbone's constructor gives some variables other names than a model from
    the same architecture, and checkpoints find variables by name.
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
            multilabel=config.task == MULTILABEL,
        )


def stored_classifier(
    workdir: Workdir, config: Config, strategy: tf.distribute.Strategy,
    num_classes: int,
) -> Classifier:  # fmt: skip
    """Rebuilds the classifier from the architecture in the workdir.

    The backbone's constructor is not used, because its result depends on the
    weights and on the Keras version.

    Args:
      workdir: the workdir of the run.
      config: its `precision`, `seed` and `task` are used.
      strategy: the variables are created under it.
      num_classes: number of outputs.

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
            # A bfloat16 run may be evaluated in float32, and is always
            # exported in float32.
            architecture = architecture.replace("mixed_bfloat16", "float32")
        return _from_architecture(
            architecture,
            pixels=pixels,
            num_classes=num_classes,
            config=config,
            strategy=strategy,
        )
