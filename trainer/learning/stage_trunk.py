"""The trunk of a stage: its engine, its cache key and the form of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.cache import FileCache, RowSpec
from trainer.data.reading import PARALLEL_CALLS
from trainer.model.trunk.device import DEVICE, DeviceTrunk, TrunkDevices
from trainer.model.trunk.engines import (
    GRAPH,
    LITERT,
    Engine,
    GraphTrunk,
    MirroredTrunk,
    RoundedTrunk,
    Trunk,
    block_of,
    lite_trunk,
    trunk_key,
)
from trainer.model.trunk.partition import Partition

# From this many images on, LiteRT saves more time than the conversion takes.
_MIN_IMAGES_FOR_LITERT = 500


class StageTrunk:
    """The trunk of a partition, whose engine is created on first use."""

    def __init__(
        self,
        partition: Partition,
        *,
        engine: str,
        block: int,
        feature_dtype: str,
        files: FileCache,
        machine: str,
        devices: TrunkDevices | None,
        warn: Callable[[str], None],
    ) -> None:
        """Creates the object; see `Inputs` for the arguments."""
        self._partition = partition
        self.engine = engine
        self._block = block
        self._feature_dtype = feature_dtype
        self._files = files
        self._machine = machine
        self._devices = devices
        self._warn = warn
        self._made: Trunk | None = None
        self._key: dict[str, str] | None = None

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each feature of one sample."""
        return self._partition.feature_shapes

    def specs(self) -> list[RowSpec]:
        """Returns the format of a cached row."""
        return [
            RowSpec(shape=shape, dtype=self._feature_dtype)
            for shape in self.shapes
        ]

    def facts(self) -> dict[str, Any]:
        """Returns engine, cut and block, for config.json."""
        block = 1
        if self.engine == GRAPH:
            block = self._graph_block()
        elif self.engine == DEVICE:
            assert self._devices is not None
            block = self._devices.block
        return {
            "engine": self.engine,
            "cut": list(self._partition.cut),
            "block": block,
        }

    def key_fields(self) -> dict[str, Any]:
        """Returns the cache key of features, without the image's digest."""
        if self._key is None:
            self._key = trunk_key(self._partition)
        fields: dict[str, Any] = {
            **self._key,
            "kind": "features",
            "engine": self.engine,
            "dtype": self._feature_dtype,
            # The order in which a graph sums depends on the number of threads,
            # and its kernels depend on the processor.
            "machine": self._machine,
        }
        if self.engine == DEVICE:
            assert self._devices is not None
            fields["devices"] = self._devices.key_fields()
        return fields

    def trunk(self) -> Trunk:
        """Returns the engine; `engine` changes if it falls back to graph."""
        if self._made is None:
            trunk = self._make()
            rounds = self._feature_dtype == "float16"
            self._made = RoundedTrunk(trunk) if rounds else trunk
        return self._made

    def mirrored(self) -> Trunk:
        """Returns an engine that computes the features of mirror images."""
        return MirroredTrunk(self.trunk())

    def _make(self) -> Engine:
        try:
            if self.engine == LITERT:
                return lite_trunk(
                    self._partition,
                    cores=PARALLEL_CALLS,
                    cache=self._files,
                    machine=self._machine,
                )
            if self.engine == DEVICE:
                assert self._devices is not None
                return DeviceTrunk(self._partition, self._devices)
        except ValueError as error:
            self._warn(
                f"--trunk_engine={self.engine}: the frozen part {error};"
                " falling back to graph, so the last bits may differ"
            )
            self.engine = GRAPH
        return GraphTrunk(self._partition, block=self._graph_block())

    def _graph_block(self) -> int:
        return self._block or block_of(self._partition)


def auto_engine(images: int, *, graph_only: bool) -> str:
    """Returns the engine that `--trunk_engine=auto` chooses on a CPU.

    Args:
      images: number of images that will go through the trunk.
      graph_only: whether LiteRT is missing.
    """
    return GRAPH if graph_only or images < _MIN_IMAGES_FOR_LITERT else LITERT
