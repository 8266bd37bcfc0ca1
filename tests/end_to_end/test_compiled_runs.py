"""Whole runs under XLA: a step is compiled once, and trains what plain does.

They run in processes of their own, as XLA reads once where to write what it
compiles.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.gpu_runs import compiled_steps
from tests.support.command import arguments, command
from tests.support.jobs import Job, run_command
from tests.support.photos import make_photos
from tests.support.runs import weights
from tests.support.tiny import use_tiny_backbone

pytestmark = pytest.mark.slow

# 21 photos in steps of 8: the last of three is padded. Of 12 to test on, one
# step validates.
RUN = {
    "stage": "finetune",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 8,
    "head_epochs": 2,
    "epochs": 2,
    "learning_rate": 1e-3,
    "unfreeze": "last:3",
    "clip_global_norm": 0.5,
    "checkpoint_every_steps": 2,
}
TWO = {"strategy": "mirrored", "logical_cpus": 2}
STAGES = ("feature_extract", "finetune")


def run_dumping(folder: str, said: Sequence[str]) -> None:
    """The command, in a process whose XLA writes down what it compiles."""
    os.environ["XLA_FLAGS"] = (
        f"--xla_dump_to={folder} --xla_dump_hlo_module_re=.*_step_.*"
    )
    run_command(said)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return make_photos(folder, train=7, test=4)


@pytest.fixture(scope="module")
def plain(photos, tmp_path_factory):
    """The run on one device, not compiled."""
    workdir = tmp_path_factory.mktemp("plain") / "w"
    fields = {**RUN, "dataset": photos, "workdir": workdir, "xla": "off"}
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        said = command(*arguments(fields))
    assert said.status == 0, said.err
    return workdir


def norm(arrays) -> float:
    squares = (np.sum(np.square(a, dtype=np.float64)) for a in arrays)
    return float(np.sqrt(sum(squares)))


@pytest.mark.parametrize(
    ("values", "replicas"),
    [({}, 1), ({**TWO, "accumulate_steps": 2, "steps_per_loop": 2}, 2)],
    ids=["one device", "two replicas in parts"],
)
def test_each_stage_compiles_once_and_equals_plain_steps(
    photos, plain, tmp_path, values, replicas
):
    workdir, dump = tmp_path / "w", tmp_path / "dump"
    fields = {**RUN, **values, "dataset": photos, "workdir": workdir}
    said = arguments({**fields, "xla": "on"})
    (left,) = Job(1, tmp_path / "said", run_dumping, str(dump), said).wait()
    assert left.status == 0, left
    # Each replica's own, of each stage; nothing more in later epochs, for a
    # padded batch, after a save or for the test images.
    stage = ["train_step"] * replicas + ["evaluation_step"] * replicas
    assert compiled_steps(dump) == stage * len(STAGES)
    results = [
        json.loads((w / "result.json").read_text()) for w in (plain, workdir)
    ]
    for name in ("test_confusion", "test_examples", "steps", "audit"):
        assert results[0][name] == results[1][name], name
    assert results[0]["test_loss"] == pytest.approx(
        results[1]["test_loss"], rel=1e-4
    )
    ends = [weights(w, "finetune") for w in (plain, workdir)]
    start = weights(plain, "feature_extract")
    moved = [k for k in start if np.any(start[k] != ends[0].get(k))]
    moved = [k for k in moved if k.startswith("model/")]
    way = norm(ends[0][k] - start[k] for k in moved)
    assert norm(ends[0][k] - ends[1][k] for k in moved) <= 1e-3 * way
