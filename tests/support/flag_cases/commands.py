"""Runs commands, and records the calls that leave no trace in files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import tensorflow as tf

from tests.support.command import Said, arguments, command
from tests.support.determinism import is_on, undone
from trainer.data import batches
from trainer.data.regularization import Regularization
from trainer.learning import steps as train_steps
from trainer.learning.graph_loops import TrainCall
from trainer.learning.inputs import Inputs
from trainer.learning.losses import TrainingLoss
from trainer.learning.metrics import StepAccount
from trainer.model.trunk import copies
from trainer.model.trunk.engines import GraphTrunk, LiteTrunk

# 12 images to train on, in three steps per epoch; 9 to test on.
BASE: Mapping[str, Any] = {
    "stage": "feature_extract",
    "dataset": "{root}/photos",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 4,
    "epochs": 1,
}


@dataclasses.dataclass(kw_only=True)
class Did:
    """The calls of a command that leave no trace in its files.

    Attributes:
      trunks: name and block of each engine created.
      folded: whether a BatchNorm was folded.
      quick: whether a layer was given quick gradients.
      computed: names of the rows that were computed for the cache.
      kernels: the kernels by which training images were warped.
      parts: the number of parts of each accumulated step created.
      calls: number of training steps in each call of the graph.
      losses: each training loss that was traced.
      regularizations: each by which training examples were changed.
    """

    trunks: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    folded: bool = False
    quick: bool = False
    computed: set[str] = dataclasses.field(default_factory=set)
    kernels: set[str] = dataclasses.field(default_factory=set)
    parts: list[int] = dataclasses.field(default_factory=list)
    calls: list[int] = dataclasses.field(default_factory=list)
    losses: set[TrainingLoss] = dataclasses.field(default_factory=set)
    regularizations: set[Regularization] = dataclasses.field(
        default_factory=set
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that has run.

    Attributes:
      root: the folder of everything that the cases name.
      own: the path that `{own}` stands for.
      workdir: of the command.
      said: its exit status and output.
      compiled: names of the trainer's functions that XLA was to compile.
      deterministic: whether op determinism was on.
      cache: its cache folder, empty before.
      did: the calls that leave no trace.
    """

    root: pathlib.Path
    own: pathlib.Path
    workdir: pathlib.Path
    said: Said
    compiled: list[str]
    deterministic: bool
    cache: pathlib.Path
    did: Did

    def json(self, name: str) -> dict[str, Any]:
        """Returns a file of the workdir."""
        return json.loads((self.workdir / name).read_text())


class Commands:
    """Runs each command once, however often it is asked for.

    `{own}` in a value is a path of this command alone.
    """

    def __init__(self, root: pathlib.Path) -> None:
        """Creates an empty memory of commands that name files in `root`."""
        self._root = root
        self._done: dict[tuple[str, ...], Ran] = {}

    def run(self, values: Mapping[str, Any], *, alone: bool) -> Ran:
        """Returns the command with these flags, `{root}` filled in.

        Args:
          values: of the flags.
          alone: whether the flags of `BASE` are left out.
        """
        values = dict(values) if alone else {**BASE, **values}
        key = (str(alone), *sorted(filled(self._root, values)))
        if key not in self._done:
            if not alone:
                values.setdefault(
                    "workdir", self._root / f"run-{len(self._done)}"
                )
            # A separate cache, so that no run finds the rows of another.
            cache = self._root / f"cache-{len(self._done)}"
            own = self._root / f"own-{len(self._done)}"
            self._done[key] = _run(self._root, own, values, cache)
        return self._done[key]


def filled(
    root: pathlib.Path,
    values: Mapping[str, Any],
    own: pathlib.Path | str = "{own}",
) -> list[str]:
    """Returns the arguments, `{root}` and `{own}` filled in."""
    return arguments(
        {
            name: str(value).format(root=root, own=own)
            for name, value in values.items()
        }
    )


def _run(
    root: pathlib.Path,
    own: pathlib.Path,
    values: Mapping[str, Any],
    cache: pathlib.Path,
) -> Ran:
    with (
        _compilations() as compiled,
        _watched() as did,
        mock.patch.dict(os.environ, XDG_CACHE_HOME=str(cache)),
        undone(),
    ):
        said = command(*filled(root, values, own))
        deterministic = is_on()
    workdir = str(values.get("workdir", "nowhere")).format(root=root, own=own)
    return Ran(
        root=root,
        own=own,
        workdir=pathlib.Path(workdir),
        said=said,
        compiled=sorted(compiled),
        deterministic=deterministic,
        cache=cache,
        did=did,
    )


@contextlib.contextmanager
def _compilations() -> Iterator[list[str]]:
    """Names of the trainer's functions that XLA is to compile."""
    made: list[str] = []
    real = tf.function

    def function(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("jit_compile"):
            made.extend(
                f.__name__ for f in args if f.__module__.startswith("trainer.")
            )
        return real(*args, **kwargs)

    with mock.patch.object(tf, "function", function):
        yield made


@contextlib.contextmanager
def _watched() -> Iterator[Did]:
    """Records the calls of the fast paths during this block."""
    did = Did()
    fold, blocks, warp = copies.fold, Inputs._computed, batches.warp
    quick_class = copies.quick_class
    accumulated, add = train_steps._accumulated, StepAccount.add
    loss_of, draws = TrainingLoss.of, Regularization.draws

    def folding(*args: Any) -> Any:
        did.folded = True
        return fold(*args)

    def quickening(layer: Any) -> Any:
        found = quick_class(layer)
        did.quick |= found is not type(layer)
        return found

    def computing(self: Inputs, *args: Any):
        did.computed.add(args[3])
        return blocks(self, *args)

    def warping(*args: Any, kernel: str) -> Any:
        did.kernels.add(kernel)
        return warp(*args, kernel=kernel)

    def taking(step: Any, parts: int) -> Any:
        did.parts.append(parts)
        return accumulated(step, parts)

    def adding(self: StepAccount, call: TrainCall, *args: Any) -> None:
        did.calls.append(len(call.sums["count"]))
        add(self, call, *args)

    def losing(self: TrainingLoss, *args: Any) -> Any:
        did.losses.add(self)
        return loss_of(self, *args)

    def drawing(self: Regularization, *args: Any) -> Any:
        did.regularizations.add(self)
        return draws(self, *args)

    patches: list[tuple[Any, str, Callable[..., Any]]] = [
        (batches, "warp", warping),
        (copies, "fold", folding),
        (copies, "quick_class", quickening),
        (train_steps, "_accumulated", taking),
        (TrainingLoss, "of", losing),
        (Regularization, "draws", drawing),
        (StepAccount, "add", adding),
        (Inputs, "_computed", computing),
        *(
            (engine, "__init__", _noting(engine.__init__, did.trunks))
            for engine in (GraphTrunk, LiteTrunk)
        ),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, function in patches:
            stack.enter_context(mock.patch.object(owner, name, function))
        yield did


def _noting(real: Callable[..., None], trunks: list[tuple[str, int]]) -> Any:
    """The `__init__` of an engine, which notes its name and block."""

    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        trunks.append((self.name, self.block))

    return make
