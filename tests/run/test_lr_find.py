"""--stage=lr_find beside the run whose rate it looks for."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shlex

import numpy as np
import pytest
from PIL import Image

from tests.support.command import arguments, command
from tests.support.photos import make_photos
from tests.support.runs import TINY, small, train, weights
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.learning.stage import StageJob
from trainer.run import lr_find as lr_find_module
from trainer.run.lr_find import lr_find

FLAGS = {
    **TINY,
    "stage": "lr_find",
    "unfreeze": "last:3",
    "head_epochs": 1,
    "batch_size": 4,
    # Printed as given, although the run would record another value.
    "precision": "auto",
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_backbone(monkeypatch)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_photos(tmp_path_factory.mktemp("photos"))


def find(photos: str, workdir: pathlib.Path, **values: object) -> dict:
    fields = small(photos, workdir, **{**FLAGS, **values})
    lr_find(Config(**fields), frozenset({*fields, "stage"}))
    return json.loads((workdir / "lr_find.json").read_text())


def content(folder: pathlib.Path) -> dict[str, str]:
    """Returns a digest of each file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_a_sweep_suggests_a_rate_and_changes_no_run(
    photos, tmp_path, monkeypatch, capsys
):
    """The finetune with these flags begins with the weights of the sweep."""
    starts = []
    real = lr_find_module.sweep_rates

    def noting(job: StageJob):
        variables = job.classifier.variables
        starts.append({k: v.numpy().copy() for k, v in variables.items()})
        return real(job)

    monkeypatch.setattr(lr_find_module, "sweep_rates", noting)
    run = tmp_path / "run"
    values = {**FLAGS, "stage": "finetune"}
    train(photos, run, **values)
    before = content(run)
    out = tmp_path / "found"
    found = find(photos, out)
    assert content(run) == before
    assert sorted(content(out)) == [
        "lr_find.json",
        "lr_find.png",
        "workdir.json",
    ]
    # The head was trained as in the run, bit for bit.
    stored = weights(run, "feature_extract")
    for key, value in starts[0].items():
        (name,) = (
            n
            for n in stored
            if n.startswith(f"model/{key.replace('/', '.S')}/")
        )
        np.testing.assert_array_equal(stored[name], value, err_msg=key)
    assert found["steps"] == len(found["losses"]) > 50
    assert 1e-6 < found["learning_rate"] < 0.2
    lowest = found["rates"][int(np.argmin(found["smoothed"]))]
    assert found["suggestion"]["tenth_of_minimum"] == pytest.approx(lowest / 10)
    assert Image.open(out / "lr_find.png").size[0] > 400
    # The command repeats the flags, and starts a new workdir.
    words = shlex.split(found["command"])
    assert words[:3] == ["python", "main.py", "--stage=finetune"]
    assert words[-1] == f"--learning_rate={found['learning_rate']:.2g}"
    assert {"--unfreeze=last:3", "--precision=auto"} <= set(words)
    assert not [word for word in words if word.startswith("--workdir")]
    said = capsys.readouterr().out
    assert found["command"] in said
    assert "\ndata: 3 classes; train: " in said.partition("at most")[0]
    # From other weights, with the same seed: twice the same bytes.
    again = [
        find(photos, tmp_path / name, init_from=str(run), head_epochs=0)
        for name in ("one", "two")
    ]
    assert again[0] == again[1]
    assert again[0]["weights"] == f"warm start from finetune of {run}"
    assert again[0]["losses"] != found["losses"]
    assert content(run) == before
    with pytest.raises(TrainerError, match="but lr_find needs a folder"):
        find(photos, run)
    assert content(run) == before


def test_a_loss_that_does_not_fall_is_an_error(photos, tmp_path, monkeypatch):
    rates = np.geomspace(1e-7, 1, 200)
    rising = lr_find_module.Sweep(rates=rates, losses=1 + rates)
    monkeypatch.setattr(lr_find_module, "sweep_rates", lambda job: rising)
    with pytest.raises(TrainerError, match="loss did not clearly fall"):
        find(photos, tmp_path / "found", head_epochs=0)
    record = json.loads((tmp_path / "found/lr_find.json").read_text())
    assert record["learning_rate"] is None
    assert record["command"] is None


def test_a_scaled_rate_is_suggested_before_scaling(
    photos, tmp_path, monkeypatch
):
    """--scale_lr with batches of 4 divides by 8."""
    rates = np.geomspace(1e-7, 1, 200)
    losses = 2 - 1 / (1 + np.exp(-8 * (np.log10(rates) + 4))) + rates
    known = lr_find_module.Sweep(rates=rates, losses=losses)
    monkeypatch.setattr(lr_find_module, "sweep_rates", lambda job: known)
    found = find(photos, tmp_path / "f", head_epochs=0, scale_lr=True)
    rate = min(found["suggestion"].values())
    assert found["learning_rate"] == pytest.approx(8 * rate, rel=0.05)
    assert "--scale_lr" in shlex.split(found["command"])


def test_the_command_line_refuses_what_lr_find_does_not_read() -> None:
    said = command(*arguments({"stage": "lr_find", "learning_rate": 1}))
    assert said.status == 2
    assert said.err.startswith("error: --learning_rate: not read by")
