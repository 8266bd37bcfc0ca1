"""The functions of the package do what the command line does."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import shutil
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from absl import flags as absl_flags

import trainer
from tests.support.command import command
from tests.support.photos import make_photos
from tests.support.runs import TINY, assert_same_runs, small
from tests.support.tiny import use_tiny_backbone
from trainer.api.quiet import TrainerWarning
from trainer.command import flags
from trainer.errors import TrainerError, UsageError
from trainer.learning.checkpoints import StageCheckpoints

# Small runs have few validation photos.
pytestmark = [
    pytest.mark.usefixtures("tiny"),
    pytest.mark.filterwarnings("ignore::trainer.api.quiet.TrainerWarning"),
]


@pytest.fixture(scope="module")
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def run(
    photos: str, tiny: None, tmp_path_factory: pytest.TempPathFactory
) -> trainer.Result:
    workdir = tmp_path_factory.mktemp("runs") / "run"
    return trainer.train(_config(photos, workdir))


def _config(photos: str, workdir: pathlib.Path, **more: Any) -> trainer.Config:
    values = {**TINY, "stage": "feature_extract", "epochs": 2, **more}
    fields = {**small(photos, workdir, **values), "workdir": workdir}
    # Not read by this stage.
    del fields["head_epochs"]
    return trainer.Config(**fields)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"stage": "finetune"}, id="defaults"),
        pytest.param({"stage": "finetune", "recipe": "best"}, id="recipe"),
        pytest.param(
            {"stage": "finetune", "recipe": "best", "epochs": 3, "ema": 0.5},
            id="recipe and others",
        ),
        pytest.param(
            {"stage": "study", "models": "0,2", "dry_run": True}, id="study"
        ),
    ],
)
def test_a_config_is_that_of_the_command_line(given: dict[str, Any]) -> None:
    values = absl_flags.FlagValues()
    flags.define(values)
    argv = [f"--{name}={value!s}" for name, value in given.items()]
    values(["main.py", *argv])
    config = trainer.Config(**given)
    assert (config.values, config.given) == flags.config_from_flags(values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            {"learning_rat": 0.1},
            "learning_rat: no such flag; did you mean --learning_rate?;"
            " transfer-trainer --help lists the flags",
            id="unknown",
        ),
        pytest.param(
            {"epochs": "3"},
            "epochs='3': not int; give a value of that type",
            id="text for a number",
        ),
        pytest.param(
            {"epochs": True},
            "epochs=True: not int; give a value of that type",
            id="bool for a number",
        ),
        pytest.param(
            {"stage": "evaluate", "workdir": "w", "epochs": 3},
            "--epochs: not read by --stage=evaluate",
            id="not read",
        ),
        pytest.param({"epochs": -1}, "--epochs=-1", id="out of range"),
    ],
)
def test_a_bad_flag_is_a_usage_error(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        trainer.Config(**given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stage": "study"}, "stage='study': not run by trainer.train"),
        ({"validation": "kfold:3"}, "validation='kfold:3': not read by"),
        ({"dry_run": True}, "dry_run=True: not read by trainer.train"),
        (
            {"dataset": "/no/such/folder"},
            "--dataset='/no/such/folder': no such",
        ),
    ],
)
def test_train_refuses_what_it_does_not_run(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        trainer.train(trainer.Config(**given))
    assert message in str(error.value)


def test_none_counts_as_not_given() -> None:
    assert trainer.Config(epochs=None).given == frozenset()


def test_a_result_is_that_of_its_workdir(run: trainer.Result) -> None:
    stored = json.loads(pathlib.Path(run.workdir, "result.json").read_text())
    assert run.metrics == stored
    assert run.accuracy == stored["test_accuracy"]
    assert run.interval == tuple(stored["test_accuracy_interval"])


def test_a_finished_run_is_read_again(
    photos: str, run: trainer.Result, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(photos, pathlib.Path(run.workdir))
    assert trainer.train(config) == run
    assert capsys.readouterr() == ("", "")
    trainer.train(config, verbose=True)
    assert "this run is complete" in capsys.readouterr().out


def test_evaluate_returns_the_accuracy_of_the_run(run: trainer.Result) -> None:
    metrics = trainer.evaluate(run.workdir)
    assert metrics["test_accuracy"] == run.accuracy
    assert metrics["test_loss"] == pytest.approx(
        run.metrics["test_loss"], rel=1e-5
    )


def test_a_loaded_model_predicts_what_the_command_predicts(
    photos: str,
    run: trainer.Result,
    tmp_path: pathlib.Path,
) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for number, photo in enumerate(pathlib.Path(photos).rglob("*.jpg")):
        shutil.copy(photo, folder / f"{number:02}.jpg")
    (folder / "text.jpg").write_text("no image")
    paths = sorted(folder.iterdir())
    model = trainer.load(run.workdir)
    found = model.predict(paths)
    assert [p.path for p in found] == [str(path) for path in paths]
    said = command(
        "--stage=predict",
        f"--workdir={run.workdir}",
        f"--inputs={folder}/*",
        "--top_k=1",
        f"--output={tmp_path / 'predictions.csv'}",
    )
    assert said.status == 0, said.err
    written = (tmp_path / "predictions.csv").read_text()
    for row, prediction in zip(
        csv.DictReader(io.StringIO(written)), found, strict=True
    ):
        assert row["error"] == prediction.error
        assert row["class_1"] == (prediction.label or "")
        if prediction.probability is not None:
            assert float(row["probability_1"]) == pytest.approx(
                prediction.probability, abs=1e-6
            )
    assert found[-1].error.startswith("looks like text")
    assert found[-1].probabilities is None
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("least", "decisions"), [(0.0, {"accepted"}), (1.0, {"unsure"})]
)
def test_a_model_decides_if_it_is_asked_to(
    photos: str, run: trainer.Result, least: float, decisions: set[str]
) -> None:
    paths = sorted(pathlib.Path(photos).rglob("*.jpg"))[:3]
    model = trainer.load(run.workdir, min_confidence=least)
    assert {p.decision for p in model.predict(paths)} == decisions
    plain = trainer.load(run.workdir).predict(paths)
    assert {p.decision for p in plain} == {""}


def test_a_model_can_reject(photos: str, run: trainer.Result) -> None:
    paths = sorted(pathlib.Path(photos, "train").rglob("*.jpg"))[:3]
    model = trainer.load(run.workdir, reject="auto")
    assert {p.decision for p in model.predict(paths)} == {"accepted"}


@pytest.mark.slow
def test_export_returns_the_folder(
    run: trainer.Result, tmp_path: pathlib.Path
) -> None:
    folder = trainer.export(run.workdir, output=tmp_path / "exported")
    assert folder == str(tmp_path / "exported")
    assert (tmp_path / "exported" / "model.keras").is_file()


@pytest.mark.parametrize("function", ["evaluate", "load", "export"])
def test_a_missing_workdir_is_an_error(function: str) -> None:
    with pytest.raises(UsageError, match="--workdir='/no/such'"):
        getattr(trainer, function)("/no/such")


@pytest.mark.slow
def test_printed_warnings_become_python_warnings(
    photos: str, tmp_path: pathlib.Path
) -> None:
    with pytest.warns(TrainerWarning, match="validation photos") as record:
        trainer.train(_config(photos, tmp_path / "run", epochs=1))
    # Python shows the line of the caller.
    assert {warning.filename for warning in record} == {__file__}


@pytest.mark.slow
def test_ctrl_c_saves_first(
    photos: str,
    run: trainer.Result,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save = StageCheckpoints.save

    def interrupted(self: StageCheckpoints, **kinds: Any) -> str:
        signal.raise_signal(signal.SIGINT)
        return save(self, **kinds)

    config = _config(photos, tmp_path / "run")
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(StageCheckpoints, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(config)
    assert signal.getsignal(signal.SIGINT) is before
    resumed = trainer.train(config)
    assert_same_runs(
        *((pathlib.Path(r.workdir), dict(r.metrics)) for r in (resumed, run))
    )


@pytest.mark.slow
def test_another_thread_can_train(photos: str, tmp_path: pathlib.Path) -> None:
    found: list[Any] = []

    def work() -> None:
        try:
            config = _config(photos, tmp_path / "run", epochs=1)
            found.append(trainer.train(config).accuracy)
        except TrainerError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert isinstance(found[0], float)
