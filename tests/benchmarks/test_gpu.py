"""The benchmark on a GPU: its driver, its arithmetic, and a small run."""

from __future__ import annotations

import itertools
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import gpu, gpu_lines, gpu_steps
from benchmarks.gpu_devices import differences
from benchmarks.gpu_lines import Lines, error_text, rates
from benchmarks.gpu_runs import same_runs
from trainer.learning.steps import StepOutput


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that the driver runs; none is started."""
    names: list[str] = []

    def run_part(name: str, *_: object) -> bool:
        names.append(name)
        return name != "fit"

    monkeypatch.setattr(gpu, "run_part", run_part)
    return names


@pytest.mark.parametrize(
    ("parts", "expected", "status"),
    [
        pytest.param(
            "resume,train,step", ["train", "step", "resume"], 0, id="in order"
        ),
        pytest.param(
            "fit,parity", ["fit", "parity"], 1, id="goes on after a failure"
        ),
        pytest.param("parity", ["parity"], 0, id="one"),
    ],
)
def test_chosen_parts_run_by_importance(
    ran, tmp_path, capsys, parts, expected, status
):
    argv = [f"--parts={parts}", f"--workdir={tmp_path}"]
    assert gpu.main(argv) == status
    assert ran == expected


def test_all_parts_run_by_default(ran, tmp_path, capsys):
    assert gpu.main([f"--workdir={tmp_path}"]) == 1
    assert ran == list(gpu.PARTS)
    assert ran[:3] == ["train", "determinism", "step"]


def test_no_part_starts_after_the_minutes(ran, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    argv = ["--minutes=0", "--parts=step,fit", f"--workdir={tmp_path}"]
    assert gpu.main([*argv, f"--json={out}"]) == 0
    assert ran == []
    printed = capsys.readouterr().out
    assert out.read_text() == printed
    machine, *rest = json_lines(printed)
    assert machine["part"] == "machine"
    assert rest == [
        {"part": name, "skipped": "--minutes=0 is over"}
        for name in ("step", "fit")
    ]


def test_an_unknown_part_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as error:
        gpu.main(["--parts=step,stop"])
    assert error.value.code == 2
    assert "--parts=step,stop: 'stop' is not a part; give some of train," in (
        capsys.readouterr().err
    )


def _fake_parts(
    monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path, **code: str
) -> None:
    """Makes modules of `benchmarks` whose content is the given code."""
    for name, text in code.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(
        gpu, "PARTS", {name: (name, "a part of a test") for name in code}
    )
    real = gpu.subprocess.Popen

    def popen(command: list[str], **more: Any) -> Any:
        module = command[2].removeprefix("benchmarks.")
        path = str(folder / f"{module}.py")
        return real([command[0], path, *command[3:]], **more)

    monkeypatch.setattr(gpu.subprocess, "Popen", popen)


def test_a_part_that_dies_or_hangs_gives_an_error_line(
    monkeypatch, tmp_path, capsys
):
    line = 'print(\'{"part": "%s", "what": "x"}\', flush=True)\n'
    _fake_parts(
        monkeypatch,
        tmp_path,
        dies=line % "dies" + "print('noise'); raise SystemExit(3)",
        hangs="import time; time.sleep(60)",
        works=line % "works",
    )
    argv = ["--parts=dies,hangs,works", "--part_minutes=0.02"]
    assert gpu.main([*argv, f"--workdir={tmp_path / 'w'}"]) == 1
    log = tmp_path / "w"
    assert json_lines(capsys.readouterr().out)[1:] == [
        {"part": "dies", "what": "x"},
        {"part": "dies", "error": f"exit 3; see {log / 'dies.log'}"},
        {
            "part": "hangs",
            "error": f"ended after 1 s; see {log / 'hangs.log'}",
        },
        {"part": "works", "what": "x"},
    ]


def test_a_failed_case_gives_an_error_line_and_the_next_runs(capsys):
    lines = Lines("step", seconds=60)

    def fails() -> dict[str, Any]:
        raise ValueError("two\nlines")

    def exits() -> dict[str, Any]:
        raise SystemExit("main.py: failed")

    lines.case("first", fails)
    lines.case("second", exits)
    lines.case("third", lambda: {"rate": 3})
    first, second, third = json_lines(capsys.readouterr().out)
    assert first["error"] == "ValueError: two lines"
    assert second["error"] == "SystemExit: main.py: failed"
    assert (third["what"], third["rate"]) == ("third", 3)
    assert {first["device"], third["device"]} == {gpu_lines.device_name()}
    assert lines.failed == 2


def test_no_case_starts_after_the_minutes(capsys):
    lines = Lines("step", seconds=-1)
    lines.case("late", lambda: pytest.fail("started"))
    (line,) = json_lines(capsys.readouterr().out)
    assert line["skipped"] == "--minutes is over"
    assert lines.failed == 0


def test_an_error_is_one_short_line():
    assert error_text(ValueError("a  b\nc")) == "ValueError: a b c"
    assert len(error_text(ValueError("a" * 1000))) == 412


def test_rates_are_median_and_range():
    # 12 images in 1, 2 and 4 seconds.
    assert rates(12, [4.0, 1.0, 2.0]) == {
        "images_per_second": 6.0,
        "range": [3.0, 12.0],
    }


def test_sides_alternate_and_ratios_are_taken_by_round(monkeypatch):
    calls: list[tuple[str, int]] = []
    clock = [0.0]
    monkeypatch.setattr(
        gpu_steps.time, "perf_counter", lambda: clock[0], raising=True
    )

    def side(name: str, seconds: list[float]):
        times = iter(seconds)

        def run(steps: int) -> None:
            calls.append((name, steps))
            clock[0] += next(times)

        return run

    # The first step, a warm-up, and three rounds.
    found = gpu_steps.compared(
        {
            "ours": side("ours", [5, 9, 1, 2, 4]),
            "fit": side("fit", [7, 9, 3, 4, 4]),
        },
        steps=2,
        rounds=3,
        batch_size=8,
    )
    assert calls[:2] == [("ours", 1), ("fit", 1)]
    assert calls[2:4] == [("ours", 2), ("fit", 2)]
    order = [name for name, _ in calls[4:]]
    assert order == ["fit", "ours", "ours", "fit", "fit", "ours"]
    assert found == {
        "ours": {
            "first_step_seconds": 5,
            "images_per_second": 8.0,
            "range": [4.0, 16.0],
        },
        "fit": {
            "first_step_seconds": 7,
            "images_per_second": 4.0,
            "range": [4.0, 5.3],
        },
        # 3 / 1, 4 / 2 and 4 / 4.
        "fit/ours": [2.0, 1.0, 3.0],
    }


def test_differences_are_relative_and_the_largest():
    def output(loss: float, *gradients: list[float]) -> StepOutput:
        with tf.device("CPU:0"):
            parts = [tf.constant(g) for g in gradients]
            return StepOutput([*parts, None], {"loss": tf.constant(loss)}, {})

    expected = [output(2.0, [3.0, 0.0], [4.0]), output(4.0, [1.0, 0.0], [0.0])]
    found = [output(2.5, [3.0, 0.0], [4.0]), output(4.0, [1.0, 0.0], [0.5])]
    largest = differences(found, expected)
    assert largest.pop("devices") == ["CPU:0", "CPU:0"]
    assert largest == {"loss": 0.25, "gradients": 0.5, "largest_entry": 0.5}


def _workdir(folder: pathlib.Path, value: float, text: str) -> pathlib.Path:
    for stage in ("feature_extract", "finetune"):
        variables = {"kernel": tf.Variable([1.0, value])}
        checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(**variables))
        checkpoint.save(str(folder / "checkpoints" / stage / "last" / "ckpt"))
    (folder / "predictions.csv").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        pytest.param(2.0, "a", (True, 0, 0.0, True), id="same"),
        pytest.param(2.5, "a", (False, 2, 0.5, True), id="other weights"),
        pytest.param(2.0, "b", (True, 0, 0.0, False), id="other predictions"),
    ],
)
def test_runs_are_compared_bit_for_bit(tmp_path, value, text, expected):
    one = _workdir(tmp_path / "one", 2.0, "a")
    two = _workdir(tmp_path / "two", value, text)
    found = same_runs(one, two)
    assert found["arrays"] == 2
    assert expected == (
        found["same_bits"],
        found["changed_arrays"],
        found["largest_difference"],
        found["same_predictions"],
    )


@pytest.mark.slow
def test_a_small_run(tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    argv = ["--small", "--parts=step,parity", f"--workdir={tmp_path / 'w'}"]
    assert gpu.main([*argv, f"--json={out}"]) == 0
    lines = json_lines(out.read_text())
    steps = [line for line in lines if line["part"] == "step"]
    assert [(line["precision"], line["xla"]) for line in steps] == list(
        itertools.product(("float32", "bfloat16"), (True, False))
    )
    for line in steps:
        low, high = line["range"]
        assert 0 < low <= line["images_per_second"] <= high
    losses = [line["first_loss"] for line in steps]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    # A random network amplifies rounding: 6 and 16 % were measured.
    np.testing.assert_allclose(losses[2:], losses[0], rtol=0.3)
    # Bfloat16 rounds.
    assert losses[2] != losses[0]
    parity = [line for line in lines if line["part"] == "parity"]
    assert len(parity) == 4
    assert max(line["loss"] for line in parity) < 1e-4
    assert max(line["gradients"] for line in parity) < 1e-3
