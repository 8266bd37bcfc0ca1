"""Every flag changes something besides the configuration that is echoed.

Each case runs the command without and with the flag, and looks at the same
thing both times: a number, a file, an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock
from unittest.mock import ANY

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import tfds_images
from tests.support.command import Said, arguments, command
from tests.support.determinism import is_on, undone
from tests.support.photos import CLASSES, make_photos
from tests.support.runs import lines, weights
from tests.support.tiny import tiny_backbone, use_tiny_backbone
from trainer.config.fields import FIELDS
from trainer.data import pipeline
from trainer.model.trunk import partition
from trainer.model.trunk.engines import GraphTrunk, LiteTrunk
from trainer.train import steps as train_steps
from trainer.train.graph_loops import TrainCall
from trainer.train.inputs import Inputs
from trainer.train.metrics import StepAccount

# Defining the data sets is what makes TFDS know them.
assert tfds_images

pytestmark = pytest.mark.slow

# 12 images to train on, in three steps an epoch; 9 to test on.
BASE: Mapping[str, Any] = {
    "stage": "feature_extract",
    "dataset": "{root}/photos",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 4,
    "epochs": 1,
}
FINETUNE = {"stage": "finetune", "head_epochs": 1}
DRY = {"dry_run": True}
ONE_STEP = {"batch_size": 12}
PREDICT = {
    "stage": "predict",
    "workdir": "{root}/source",
    "inputs": "{root}/photos/test",
}
STUDY = {
    "stage": "study",
    "dataset": "{root}/photos",
    "workdir": "{root}/study",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "head_epochs": 1,
    "dry_run": True,
}


@dataclasses.dataclass(kw_only=True)
class Did:
    """What a command went through that leaves no trace in its files.

    Attributes:
      trunks: name and block of each engine made.
      folded: whether a BatchNorm was folded.
      quick: whether a layer was given quick gradients.
      computed: what rows were computed of.
      kernels: by which training images were warped.
      parts: that steps were made to take their batch in.
      calls: training steps in each call of the graph.
    """

    trunks: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    folded: bool = False
    quick: bool = False
    computed: set[str] = dataclasses.field(default_factory=set)
    kernels: set[str] = dataclasses.field(default_factory=set)
    parts: list[int] = dataclasses.field(default_factory=list)
    calls: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that has run."""

    root: pathlib.Path
    workdir: pathlib.Path
    said: Said
    compiled: list[str]
    deterministic: bool
    cache: pathlib.Path
    did: Did

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.workdir / name).read_text())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A flag, what to look at, and what is to be seen there.

    ANY is for what cannot be worked out by hand; the two must differ anyhow.
    `also` are other flags of both runs; `alone` gives them no base.
    """

    flag: str
    value: Any
    see: Callable[[Ran], Any]
    without: Any
    given: Any
    also: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    alone: bool = False


def checkpointed(ran: Ran) -> list[str]:
    return sorted(p.name for p in (ran.workdir / "checkpoints").iterdir())


def steps(ran: Ran) -> int:
    return ran.json("result.json")["steps"]


def head_steps(ran: Ran) -> int:
    return ran.json("result.json")["earlier_stages"][0]["steps"]


def classes(ran: Ran) -> list[str]:
    return ran.json("result.json")["classes"]


def loss_on_test(ran: Ran) -> float:
    return ran.json("result.json")["test_loss"]


def status(ran: Ran) -> int:
    return ran.said.status


def samples(ran: Ran) -> list[int] | None:
    """Of the plan: to train, to validate, to test on."""
    found = re.search(r"^all classes +(.*)$", ran.said.out, re.MULTILINE)
    return [int(n) for n in found[1].split()] if found else None


def parameters(ran: Ran) -> tuple[str, str]:
    """Of the plan's last stage: in all, and trainable."""
    found = re.findall(
        r"([\d,]+) parameters in all, ([\d,]+) trainable", ran.said.out
    )
    return found[-1]


def replicas(ran: Ran) -> tuple[str, str]:
    found = re.search(r"\((\w+), (\d+) replicas\)", ran.said.out)
    return found[1], found[2]


def variable(
    workdir: pathlib.Path, name: str, stage: str = "feature_extract"
) -> np.ndarray:
    """A variable of the stage's last checkpoint."""
    (found,) = (
        value
        for key, value in weights(workdir, stage).items()
        if key.startswith("model/") and key.split("/")[1].endswith(name)
    )
    return found


def conv1(ran: Ran) -> np.ndarray:
    return variable(ran.workdir, "conv1.Skernel")


def conv1_values(ran: Ran) -> int:
    return len(np.unique(conv1(ran)))


def conv1_is_that_of_source(ran: Ran) -> bool:
    source = variable(ran.root / "source", "conv1.Skernel")
    return np.array_equal(conv1(ran), source)


def head_kernel(ran: Ran) -> bytes:
    return variable(ran.workdir, "head.Skernel").tobytes()


def bias_after_one_step(ran: Ran) -> float:
    """It begins at 0, and Adam's first step is the learning rate long."""
    return np.abs(variable(ran.workdir, "head.Sbias")).max()


def step_of_source(ran: Ran) -> list[int]:
    """The checkpoints of `source` that the head is as good as equal to."""
    bias = variable(ran.workdir, "head.Sbias")
    folder = ran.root / "source/checkpoints/feature_extract/last"
    found = []
    for step in (3, 6):
        reader = tf.train.load_checkpoint(str(folder / f"ckpt-{step}"))
        (key,) = (
            key
            for key in reader.get_variable_to_shape_map()
            if key.startswith("model/") and "head.Sbias" in key
        )
        if np.allclose(bias, reader.get_tensor(key), atol=1e-6):
            found.append(step)
    return found


def momentum_norm(ran: Ran) -> float:
    """After one step it is a tenth of the gradient."""
    slots = [
        value
        for key, value in weights(ran.workdir, "feature_extract").items()
        if key.startswith("slots/") and "momentum" in key
    ]
    assert len(slots) == 2
    return float(np.sqrt(sum(np.sum(np.square(s)) for s in slots)))


def first_backbone_shape(ran: Ran) -> list[int]:
    text = json.dumps(ran.json("backbone.json")["architecture"])
    found = re.search(r"batch_shape\W+null, (\d+), (\d+), 3\]", text)
    return [int(found[1]), int(found[2])]


def shows_augmentation(ran: Ran) -> bool:
    (path,) = (ran.workdir / "tensorboard/train").iterdir()
    return "augmentation" in {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }


def saves(ran: Ran) -> list[int]:
    return [
        line["step"]
        for line in lines(ran.workdir, "events.jsonl")
        if line["event"] == "save"
    ]


def kept(ran: Ran) -> list[str]:
    folder = ran.workdir / "checkpoints/feature_extract/last"
    return sorted(p.stem for p in folder.glob("*.index"))


def logged(ran: Ran) -> list[int]:
    return [
        line["step"]
        for line in lines(ran.workdir, "metrics.jsonl")
        if line["span"] == "steps"
    ]


def kept_segments(ran: Ran) -> int:
    """Files of rows where no flag says where."""
    return len(list(ran.cache.glob("transfer-trainer-cache/*/rows-*")))


def keeps_images(ran: Ran) -> bool:
    return "images" in ran.did.computed


def evaluated_step(ran: Ran) -> str:
    return re.search(r"at step (\d+) ", ran.said.out)[1]


def finished_at(place: str, ran: Ran) -> bool:
    return (ran.root / place / "result.json").exists()


def finished(ran: Ran) -> bool:
    return (ran.workdir / "result.json").exists()


def own_workdir(ran: Ran) -> bool:
    return ran.said.out.startswith("workdir: runs/photos-MobileNetV2-")


def looks_below_root(ran: Ran) -> bool:
    return f"not prepared under {ran.root}/tfds/" in ran.said.err


def predicted_files(ran: Ran) -> int:
    return len(ran.said.out.splitlines()) - 1


def predicted_columns(ran: Ran) -> int:
    return len(ran.said.out.splitlines()[0].split(","))


def written(ran: Ran) -> bool:
    return (ran.root / "rows.csv").exists()


def planned_models(ran: Ran) -> list[str]:
    return re.findall(r"== model (\d), seed 0", ran.said.out)


def trained_models(ran: Ran) -> list[str]:
    return re.findall(r"== (model \d, seed \d)", ran.said.out)


# The backbone has 216 + 1152 + 2304 weights in convolutions and 4 * 40 in
# BatchNorms, of which 2 * 40 are moving statistics; its head 16 * 3 + 3.
CASES = (
    Case(
        flag="stage",
        value="finetune",
        see=checkpointed,
        without=["feature_extract"],
        given=["feature_extract", "finetune"],
    ),
    Case(
        flag="dataset",
        value="{root}/two",
        see=classes,
        without=sorted(CLASSES),
        given=["left", "right"],
    ),
    Case(
        flag="tfds_data_dir",
        value="{root}/tfds",
        also={"dataset": "trainer_unreachable", **DRY},
        see=looks_below_root,
        without=False,
        given=True,
    ),
    Case(
        flag="data_pct",
        value=50,
        also=DRY,
        see=samples,
        without=[12, 4, 9],
        given=[6, 4, 9],
    ),
    # Ten of each class. Of 6 or 15 to test on, one batch of four validates.
    Case(
        flag="test_fraction",
        value=0.5,
        also={"dataset": "{root}/flat", **DRY},
        see=samples,
        without=[24, 4, 6],
        given=[15, 4, 15],
    ),
    Case(
        flag="on_bad_image",
        value="skip",
        also={"dataset": "{root}/broken", **DRY},
        see=samples,
        without=None,
        given=[11, 4, 9],
    ),
    Case(
        flag="backbone",
        value="VGG16",
        also=DRY,
        see=parameters,
        without=("3,883", "51"),
        given=("14,716,227", "1,539"),
    ),
    # Channels 4, 8, 8: 108 + 288 + 576, 4 * 20, and a head of 27.
    Case(
        flag="backbone_args",
        value="alpha=0.5",
        also=DRY,
        see=parameters,
        without=("3,883", "51"),
        given=("1,079", "27"),
    ),
    Case(
        flag="weights",
        value="{root}/ones.weights.h5",
        see=conv1_values,
        without=216,
        given=1,
    ),
    Case(
        flag="weights_origin",
        value="keras_none",
        also={
            "backbone": "EfficientNetB0",
            "weights": "{root}/ones.weights.h5",
            **DRY,
        },
        see=status,
        without=2,
        given=0,
    ),
    Case(
        flag="image_size",
        value=48,
        see=first_backbone_shape,
        without=[32, 32],
        given=[48, 48],
    ),
    Case(flag="batch_size", value=6, see=steps, without=3, given=2),
    Case(flag="epochs", value=2, see=steps, without=3, given=6),
    Case(
        flag="head_epochs",
        value=2,
        also={"stage": "finetune"},
        see=head_steps,
        without=15,
        given=6,
    ),
    Case(
        flag="learning_rate",
        value=0.1,
        also=ONE_STEP,
        see=bias_after_one_step,
        without=pytest.approx(1e-3, rel=1e-3),
        given=pytest.approx(0.1, rel=1e-3),
    ),
    Case(
        flag="head_learning_rate",
        value=0.1,
        also={**FINETUNE, **ONE_STEP},
        see=bias_after_one_step,
        without=pytest.approx(1e-3, rel=1e-3),
        given=pytest.approx(0.1, rel=1e-3),
    ),
    # A solved head takes one step.
    Case(
        flag="head_solver",
        value="lbfgs",
        also={"stage": "finetune"},
        see=head_steps,
        without=15,
        given=1,
    ),
    Case(
        flag="head_l2",
        value="0.5",
        also={"stage": "finetune", "head_solver": "lbfgs"},
        see=lambda ran: (ran.workdir / "head_path.json").exists(),
        without=True,
        given=False,
    ),
    # Twelve of 32 in a step.
    Case(
        flag="scale_lr",
        value=True,
        also=ONE_STEP,
        see=bias_after_one_step,
        without=pytest.approx(1e-3, rel=1e-3),
        given=pytest.approx(0.375e-3, rel=1e-3),
    ),
    Case(
        flag="accumulate_steps",
        value=2,
        see=lambda ran: ran.did.parts,
        without=[],
        given=[2],
    ),
    Case(
        flag="augment",
        value=False,
        see=shows_augmentation,
        without=True,
        given=False,
    ),
    Case(
        flag="augment",
        value=False,
        see=head_kernel,
        without=ANY,
        given=ANY,
    ),
    Case(
        flag="unfreeze",
        value="last:3",
        also={**FINETUNE, **DRY},
        see=parameters,
        without=("3,883", "3,803"),
        given=("3,883", "2,387"),
    ),
    Case(
        flag="clip_global_norm",
        value=1e-3,
        also=ONE_STEP,
        see=momentum_norm,
        without=ANY,
        given=pytest.approx(1e-4, rel=1e-3),
    ),
    Case(
        flag="validation_fraction",
        value=1,
        also=DRY,
        see=samples,
        without=[12, 4, 9],
        given=[12, 9, 9],
    ),
    Case(
        flag="seed",
        value=3,
        see=head_kernel,
        without=ANY,
        given=ANY,
    ),
    Case(
        flag="workdir",
        value="{root}/elsewhere",
        see=functools.partial(finished_at, "elsewhere"),
        without=False,
        given=True,
    ),
    Case(
        flag="workdir",
        value="{root}/elsewhere",
        also={**BASE, **DRY},
        alone=True,
        see=own_workdir,
        without=True,
        given=False,
    ),
    Case(
        flag="init_from",
        value="{root}/source",
        see=conv1_is_that_of_source,
        without=False,
        given=True,
    ),
    Case(
        flag="init_from_checkpoint",
        value="best",
        also={"init_from": "{root}/source", "learning_rate": 1e-9},
        see=step_of_source,
        without=[6],
        given=[3],
    ),
    Case(
        flag="checkpoint",
        value="best",
        also={"stage": "evaluate", "workdir": "{root}/source"},
        alone=True,
        see=evaluated_step,
        without="6",
        given="3",
    ),
    Case(
        flag="inputs",
        value="{root}/photos/test/sushi",
        also=PREDICT,
        alone=True,
        see=predicted_files,
        without=9,
        given=3,
    ),
    Case(
        flag="output",
        value="{root}/rows.csv",
        also=PREDICT,
        alone=True,
        see=written,
        without=False,
        given=True,
    ),
    Case(
        flag="top_k",
        value=1,
        also=PREDICT,
        alone=True,
        see=predicted_columns,
        without=8,
        given=4,
    ),
    Case(
        flag="models",
        value="0",
        also={**STUDY, "seeds": 1},
        alone=True,
        see=planned_models,
        without=["0", "1", "2", "3", "4"],
        given=["0"],
    ),
    # The same place, so a second seed finds the first one done.
    Case(
        flag="seeds",
        value=2,
        also={**STUDY, "models": "0", "dry_run": False, "batch_size": 12},
        alone=True,
        see=trained_models,
        without=["model 0, seed 0"],
        given=["model 0, seed 0", "model 0, seed 1"],
    ),
    Case(
        flag="checkpoint_every_steps",
        value=2,
        see=saves,
        without=[3],
        given=[2, 3],
    ),
    Case(
        flag="keep_checkpoints",
        value=1,
        also={"epochs": 2},
        see=kept,
        without=["ckpt-3", "ckpt-6"],
        given=["ckpt-6"],
    ),
    Case(
        flag="on_nonfinite",
        value="rollback",
        also={"learning_rate": 1e38},
        see=lambda ran: "back to step 0 with" in ran.said.out,
        without=False,
        given=True,
    ),
    # By itself it begins with one.
    Case(
        flag="steps_per_loop",
        value=3,
        see=lambda ran: ran.did.calls,
        without=ANY,
        given=[3],
    ),
    Case(
        flag="log_every_steps",
        value=2,
        see=logged,
        without=[],
        given=[2],
    ),
    Case(
        flag="precision",
        value="bfloat16",
        see=loss_on_test,
        without=ANY,
        given=ANY,
    ),
    Case(
        flag="xla",
        value="on",
        see=lambda ran: ran.compiled,
        without=[],
        given=["evaluation_step", "train_step"],
    ),
    Case(
        flag="deterministic",
        value="off",
        also=DRY,
        see=lambda ran: ran.deterministic,
        without=True,
        given=False,
    ),
    Case(
        flag="trunk_engine",
        value="litert",
        see=lambda ran: ran.did.trunks,
        without=[("graph", 32)],
        given=[("litert", 1)],
    ),
    Case(
        flag="trunk_engine",
        value="step",
        see=lambda ran: ran.did.trunks,
        without=[("graph", 32)],
        given=[],
    ),
    Case(
        flag="trunk_block",
        value=2,
        see=lambda ran: ran.did.trunks,
        without=[("graph", 32)],
        given=[("graph", 2)],
    ),
    Case(
        flag="feature_dtype",
        value="float16",
        see=loss_on_test,
        without=ANY,
        given=ANY,
    ),
    Case(
        flag="fold_batch_norm",
        value=False,
        see=lambda ran: ran.did.folded,
        without=True,
        given=False,
    ),
    Case(
        flag="quick_gradients",
        value="off",
        also=FINETUNE,
        see=lambda ran: ran.did.quick,
        without=True,
        given=False,
    ),
    Case(
        flag="augment_kernel",
        value="gather",
        # On a CPU both give the same bits.
        see=lambda ran: ran.did.kernels,
        without={"projective"},
        given={"gather"},
    ),
    # Images to train on, features to validate on, and those of the rest.
    Case(
        flag="cache",
        value="off",
        see=kept_segments,
        without=3,
        given=0,
    ),
    Case(
        flag="cache_dir",
        value="{root}/shelf",
        see=lambda ran: (kept_segments(ran), (ran.root / "shelf").exists()),
        without=(3, False),
        given=(0, True),
    ),
    # 12 images of 150,528 bytes.
    Case(
        flag="cache_ram_mib",
        value=1,
        also={"cache": "ram", "image_size": 224},
        see=keeps_images,
        without=True,
        given=False,
    ),
    Case(
        flag="cache_disk_mib",
        value=0,
        also={"cache": "disk"},
        see=kept_segments,
        without=3,
        given=0,
    ),
    Case(
        flag="decode_cache",
        value=False,
        see=keeps_images,
        without=True,
        given=False,
    ),
    Case(
        flag="strategy",
        value="mirrored",
        also={"logical_cpus": 2, **DRY},
        see=replicas,
        without=("OneDeviceStrategy", "1"),
        given=("MirroredStrategy", "2"),
    ),
    # No machine has that many.
    Case(
        flag="gpus",
        value="99",
        also=DRY,
        see=status,
        without=0,
        given=2,
    ),
    Case(
        flag="tpu",
        value="local",
        also=DRY,
        see=lambda ran: "--tpu=local: TensorFlow" in ran.said.err,
        without=False,
        given=True,
    ),
    Case(
        flag="logical_cpus",
        value=2,
        also={"strategy": "mirrored", **DRY},
        see=replicas,
        without=("MirroredStrategy", "1"),
        given=("MirroredStrategy", "2"),
    ),
    Case(
        flag="dry_run",
        value=True,
        see=finished,
        without=True,
        given=False,
    ),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where everything is that the cases name."""
    folder = tmp_path_factory.mktemp("flags")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_backbone(monkeypatch)
        make_photos(folder / "photos", train=4, test=3)
        make_photos(folder / "two", train=4, test=3, classes=("left", "right"))
        make_photos(folder / "pool", train=10, test=0)
        (folder / "pool/train").rename(folder / "flat")
        make_photos(folder / "broken", train=4, test=3)
        (folder / "broken/train/sushi/001.jpg").write_bytes(b"")
        keras.utils.clear_session()
        model = tiny_backbone()
        model.set_weights([np.ones(w.shape) for w in model.weights])
        model.save_weights(folder / "ones.weights.h5")
        _make_source(folder)
        yield folder


def _make_source(folder: pathlib.Path) -> None:
    """A run whose best checkpoint is of step 3, and whose last of step 6."""
    workdir = folder / "source"
    values = {**BASE, "epochs": 2, "seed": 5, "learning_rate": 0.01}
    said = command(*_arguments(folder, values | {"workdir": workdir}))
    assert said.status == 0, said.err
    checkpoints = workdir / "checkpoints/feature_extract"
    for path in (checkpoints / "best").iterdir():
        path.unlink()
    for path in (checkpoints / "last").glob("ckpt-3.*"):
        (checkpoints / "best" / path.name).write_bytes(path.read_bytes())
    best = str(checkpoints / "best")
    tf.compat.v1.train.update_checkpoint_state(best, f"{best}/ckpt-3")


def _arguments(root: pathlib.Path, values: Mapping[str, Any]) -> list[str]:
    return arguments(
        {name: str(value).format(root=root) for name, value in values.items()}
    )


@pytest.fixture(scope="module")
def run(root):
    """Runs a command once, however often it is asked for."""
    done: dict[tuple[str, ...], Ran] = {}

    def run(values: Mapping[str, Any], *, alone: bool) -> Ran:
        values = dict(values) if alone else {**BASE, **values}
        key = (str(alone), *sorted(_arguments(root, values)))
        if key not in done:
            if not alone:
                values.setdefault("workdir", root / f"run-{len(done)}")
            # An empty one, as no run may find what another has kept.
            cache = root / f"cache-{len(done)}"
            with (
                _compilations() as compiled,
                _watched() as did,
                mock.patch.dict(os.environ, XDG_CACHE_HOME=str(cache)),
                undone(),
            ):
                said = command(*_arguments(root, values))
                deterministic = is_on()
            workdir = str(values.get("workdir", "nowhere")).format(root=root)
            done[key] = Ran(
                root=root,
                workdir=pathlib.Path(workdir),
                said=said,
                compiled=sorted(compiled),
                deterministic=deterministic,
                cache=cache,
                did=did,
            )
        return done[key]

    return run


def _is_ours(function: Callable[..., Any]) -> bool:
    return function.__module__.startswith("trainer.")


@contextlib.contextmanager
def _compilations() -> Iterator[list[str]]:
    """Names of the trainer's functions that XLA is to compile."""
    made: list[str] = []
    real = tf.function

    def function(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("jit_compile"):
            made.extend(f.__name__ for f in args if _is_ours(f))
        return real(*args, **kwargs)

    with mock.patch.object(tf, "function", function):
        yield made


@contextlib.contextmanager
def _watched() -> Iterator[Did]:
    did = Did()
    fold, blocks, warp = partition.fold, Inputs._blocks, pipeline.warp
    quick_class = partition.quick_class
    accumulated, add = train_steps._accumulated, StepAccount.add

    def folding(*args: Any) -> Any:
        did.folded = True
        return fold(*args)

    def quickening(layer: Any) -> Any:
        kind = quick_class(layer)
        did.quick |= kind is not type(layer)
        return kind

    def computing(self: Inputs, samples: Any, rows: Any, what: str, trunk: Any):
        did.computed.add(what)
        return blocks(self, samples, rows, what, trunk)

    def warping(*args: Any, kernel: str) -> Any:
        did.kernels.add(kernel)
        return warp(*args, kernel=kernel)

    def taking(step: Any, parts: int) -> Any:
        did.parts.append(parts)
        return accumulated(step, parts)

    def adding(self: StepAccount, call: TrainCall, *args: Any) -> None:
        did.calls.append(len(call.sums["count"]))
        add(self, call, *args)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(pipeline, "warp", warping))
        for engine in (GraphTrunk, LiteTrunk):
            made = _noting(engine.__init__, did.trunks)
            stack.enter_context(mock.patch.object(engine, "__init__", made))
        stack.enter_context(mock.patch.object(partition, "fold", folding))
        stack.enter_context(
            mock.patch.object(partition, "quick_class", quickening)
        )
        stack.enter_context(
            mock.patch.object(train_steps, "_accumulated", taking)
        )
        stack.enter_context(mock.patch.object(StepAccount, "add", adding))
        stack.enter_context(mock.patch.object(Inputs, "_blocks", computing))
        yield did


def _noting(real: Callable[..., None], trunks: list[tuple[str, int]]) -> Any:
    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        trunks.append((self.name, self.block))

    return make


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{case.flag}={case.value}" for case in CASES]
)
def test_the_flag_changes_what_is_seen(run, case):
    before = case.see(run(case.also, alone=case.alone))
    with_flag = {**case.also, case.flag: case.value}
    after = case.see(run(with_flag, alone=case.alone))
    assert before == case.without
    assert after == case.given
    assert before != after


def test_every_flag_has_a_case():
    assert {case.flag for case in CASES} == set(FIELDS)
