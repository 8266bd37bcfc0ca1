"""The fast paths of a run: trunk engine, folding, gradients, caches, warp.

They change time and memory use, and at most the last bits of a result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from trainer.cache import OFF, FileCache, RowCache
from trainer.config import Config
from trainer.config.fields import AUTO
from trainer.data.augment import warp_kernel
from trainer.data.rendering import Rendering, rendering_of
from trainer.distribute import devices, strategies
from trainer.distribute.processes import Processes
from trainer.distribute.runtime import Runtime
from trainer.errors import UsageError
from trainer.learning.inputs import Inputs, Report
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, freeze_plan
from trainer.model.trunk.cut import Cut, find_cut
from trainer.model.trunk.device import DEVICE, TrunkDevices
from trainer.model.trunk.engines import LITERT
from trainer.model.trunk.partition import Partition, partition_at
from trainer.run.caches import file_cache, row_cache
from trainer.run.engine_choice import (
    STEP,
    choose_engine,
    machine_facts,
    trunk_devices,
    uncached,
)

# From this many images on, a test of a model without frozen layers saves more
# time in LiteRT than the conversion of the whole backbone takes.
_MIN_TESTED_BY_LITERT = 2000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FastPaths:
    """The fast paths chosen for one run.

    Attributes:
      engine: the engine that runs the trunk: step, graph, litert or device.
        With step, and with device on augmented images, the step runs all
        layers.
      devices: where the device engine runs.
      processes: the processes of the job.
      kernel: how images are warped: projective or gather.
      fold_batch_norm: whether BatchNorm is folded into convolutions.
      quick_gradients: see `partition_at`.
      block: images per pass of the graph engine; 0 chooses the number.
      feature_dtype: see `Inputs`.
      decode_cache: whether decoded images are cached.
      rendering: how images are decoded and resized.
      cache: the cache of features and decoded images.
      files: the cache of whole files.
      machine: see `Inputs`.
    """

    engine: str
    devices: TrunkDevices
    processes: Processes
    kernel: str
    fold_batch_norm: bool
    quick_gradients: bool
    block: int
    feature_dtype: str
    decode_cache: bool
    rendering: Rendering
    cache: RowCache
    files: FileCache
    machine: str

    def for_stage(
        self,
        classifier: Classifier,
        plan: FreezePlan,
        *,
        warn: Callable[[str], None],
        report: Report,
        later: FreezePlan | None = None,
        work: StageWork | None = None,
    ) -> StagePaths:
        """Returns the partition and the inputs of a stage.

        Args:
          classifier: the classifier of the run.
          plan: the trainable and the frozen variables of the stage.
          warn: called with a message if a fast path cannot be used.
          report: see `Inputs`.
          later: the plan of the next stage, which may share the result.
          work: the size of the stage; required with `later`.
        """
        cut, shared = self._cut(classifier, plan, later, work)
        partition = self._partition(classifier, cut)
        trained = partition
        if self.engine == DEVICE and work is not None and work.augment:
            # Features of augmented images are not cached, so the step runs
            # all layers, as it does without this engine.
            trained = self._partition(
                classifier, find_cut(classifier, [plan], cut_trunk=False)
            )
        if self.feature_dtype != "float32" and not (
            partition and partition.cut
        ):
            warn(
                f"--feature_dtype={self.feature_dtype}: this stage trains the"
                " first layers, so there are no features to round"
            )
        inputs = Inputs(
            partition,
            image_px=classifier.image_px,
            rendering=self.rendering,
            engine=self.engine,
            block=self.block,
            feature_dtype=self.feature_dtype,
            kernel=self.kernel,
            cache=self.cache,
            files=self.files,
            decode_cache=self.decode_cache,
            machine=self.machine,
            warn=warn,
            report=report,
            devices=self.devices,
            processes=self.processes,
        )
        return StagePaths(
            partition=trained,
            evaluated=partition,
            inputs=inputs,
            shared=shared,
        )

    def plan_of_test(
        self, classifier: Classifier, plan: FreezePlan, *, images: int
    ) -> FreezePlan:
        """Returns the plan by which to cut the classifier for a test.

        A stage that trains the first layers has no trunk. But no weight
        changes during a test, so the whole backbone can run in LiteRT. Its
        features are never rounded.

        Args:
          classifier: the classifier of the run.
          plan: the trainable and the frozen variables of the stage.
          images: number of images to test on.
        """
        few = images < _MIN_TESTED_BY_LITERT
        if few or self.engine != LITERT or self.feature_dtype != "float32":
            return plan
        cut = find_cut(classifier, [plan])
        if cut is None or cut.names:
            return plan
        return freeze_plan(classifier, "none")

    def _partition(
        self, classifier: Classifier, cut: Cut | None
    ) -> Partition | None:
        """Returns the two parts at a cut; None if the whole model will do."""
        if cut is None:
            return None
        if not (cut.names or self.fold_batch_norm or self.quick_gradients):
            return None
        return partition_at(
            classifier,
            cut,
            fold_batch_norm=self.fold_batch_norm,
            quick_gradients=self.quick_gradients,
        )

    def _cut(
        self,
        classifier: Classifier,
        plan: FreezePlan,
        later: FreezePlan | None,
        work: StageWork | None,
    ) -> tuple[Cut | None, bool]:
        """Finds where the trunk ends, and whether the next stage shares it."""
        cut = find_cut(classifier, [plan], cut_trunk=self.engine != STEP)
        if later is None or work is None or cut is None or not cut.names:
            return cut, False
        both = find_cut(classifier, [plan, later])
        assert both is not None
        if both.names and work.shares(*both.costs()):
            return both, True
        return cut, False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StagePaths:
    """The partition and the inputs of a stage.

    Attributes:
      partition: the two-part model that the training step computes with; None
        for the whole classifier.
      evaluated: the same for an evaluation.
      inputs: reads the samples.
      shared: whether the next stage uses both unchanged.
    """

    partition: Partition | None
    evaluated: Partition | None
    inputs: Inputs
    shared: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageWork:
    """The size of a stage.

    Attributes:
      epochs: number of epochs.
      train: number of training samples.
      validation: number of validation samples after each epoch.
      final: number of samples of the final evaluation.
      augment: whether training images are augmented.
    """

    epochs: int
    train: int
    validation: int
    final: int
    augment: bool

    def shares(self, trunk: int, tail: int) -> bool:
        """Returns whether to cut at the same layer as the next stage.

        If so, both stages read the same features, which are computed once. But
        the frozen layers after the cut then run in every step, in a graph,
        where they take about twice as long as in the trunk.

        Args:
          trunk: multiplications per sample before the next stage's cut.
          tail: multiplications per sample of the frozen layers after it.
        """
        passes = self.epochs * self.validation + self.final
        trained = self.epochs * self.train
        if self.augment:
            # Augmented images go through all layers in either case.
            return tail * (2 * passes + trained) < trunk * self.final
        return 2 * tail * (passes + trained) < trunk * (self.final + self.train)


def fast_paths(
    config: Config,
    runtime: Runtime,
    *,
    images: int,
    earlier: str | None = None,
    training: bool = True,
) -> FastPaths:
    """Chooses the fast paths by flags, devices and the size of the run.

    Args:
      config: the resolved configuration.
      runtime: the devices of the run.
      images: number of images that will pass through the classifier.
      earlier: the engine with which the run began; None for a new run. A
        resumed run keeps it unless a flag overrides it.
      training: whether the run is trained, not only evaluated.

    Raises:
      UsageError: the devices do not support the flags, or flags conflict.
    """
    if runtime.compiled and config.augment_kernel == "projective":
        raise UsageError(
            "--augment_kernel=projective: "
            + (
                "a TPU cannot run it; give gather"
                if runtime.on_tpu
                else "XLA cannot compile it; give gather, or --xla=off"
            )
        )
    engine = choose_engine(config, runtime, images, earlier)
    if training:
        _check_features(config, engine, runtime)
    quick = _quick_gradients(config, runtime)
    if training and config.quick_gradients == "on" and not quick:
        raise UsageError(
            "--quick_gradients=on: only possible for float32 on CPUs without"
            " XLA; give auto or off"
        )
    # A remote TPU host, which reads the data, cannot run the cache's Python.
    remote = strategies.on_far_tpu(runtime.strategy, config.tpu)
    mode = OFF if remote else config.cache
    kernel = config.augment_kernel
    return FastPaths(
        engine=engine,
        devices=trunk_devices(config, runtime),
        processes=runtime.processes,
        kernel=warp_kernel(runtime.compiled) if kernel == AUTO else kernel,
        fold_batch_norm=config.fold_batch_norm,
        quick_gradients=quick,
        block=config.trunk_block,
        feature_dtype=config.feature_dtype,
        decode_cache=config.decode_cache,
        rendering=rendering_of(config),
        cache=row_cache(config, mode),
        files=file_cache(config),
        machine=machine_facts(runtime),
    )


def _check_features(config: Config, engine: str, runtime: Runtime) -> None:
    """Checks that there are features for the flags that need them.

    Raises:
      UsageError: the step computes all layers.
    """
    if config.head_views and engine == STEP:
        raise UsageError(
            f"--head_views={config.head_views}: not possible here:"
            f" {uncached(engine, runtime)}; leave it out"
        )
    if config.feature_dtype == "float32":
        return
    given = f"--feature_dtype={config.feature_dtype}"
    if engine == STEP:
        raise UsageError(
            f"{given}: here the step computes all layers, so there are no"
            " features to round; leave it out, or give --trunk_engine=graph"
            " where that is possible"
        )
    if engine == DEVICE and config.augments:
        remedy = "--augment=false"
        if config.mix != OFF or config.erasing:
            remedy += " without --mix and --erasing"
        raise UsageError(
            f"{given}: here the step computes all layers of augmented images,"
            " so there are no features to round; leave it out, or give"
            f" {remedy}"
        )


def _quick_gradients(config: Config, runtime: Runtime) -> bool:
    """Returns whether the step uses the faster gradients.

    An evaluation also uses them, to compute with the same layers as training.
    """
    return (
        config.quick_gradients != OFF
        and config.precision == "float32"
        and not runtime.compiled
        and devices.all_cpus(runtime.strategy)
    )
