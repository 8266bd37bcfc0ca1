"""--stage=compare: numbers by hand, and one line for each bad input."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from tests.support.command import command
from tests.support.finished_runs import change, make_finished

ONE = (1, 1, 1, 1, 1, 1, 0, 0, 0, 0)
# Alone right on two of ten, alone wrong on five.
TWO = (1, 0, 0, 0, 0, 0, 1, 1, 0, 0)
THREE = (1, 1, 1, 1, 1, 1, 1, 0, 0, 0)


@pytest.fixture
def a(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_finished(tmp_path / "a", ONE)


@pytest.fixture
def b(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_finished(tmp_path / "b", TWO)


def compare(*workdirs: pathlib.Path | str, output: object = None):
    named = ",".join(map(str, workdirs))
    more = [] if output is None else [f"--output={output}"]
    return command("--stage=compare", f"--workdirs={named}", *more)


def refused(said, status: int, *words: object) -> None:
    assert said.status == status
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    for word in words:
        assert str(word) in said.err


def test_all_runs_are_compared_with_the_first(tmp_path, a, b):
    c = make_finished(tmp_path / "c", THREE)
    said = compare(a, b, c, output=tmp_path / "out.json")
    assert (said.status, said.err) == (0, "")
    found = json.loads((tmp_path / "out.json").read_text())
    assert [run["workdir"] for run in found["runs"]] == [
        str(path) for path in (a, b, c)
    ]
    assert [run["accuracy"] for run in found["runs"]] == [0.6, 0.3, 0.7]
    # Wilson intervals, by hand: (0.6 + 0.192073 -+ 0.361697) / 1.384146.
    assert found["runs"][0]["accuracy_interval"] == pytest.approx(
        [0.312674, 0.831820], abs=1e-5
    )
    two, three = found["differences"]
    assert (two["first"], two["second"]) == (str(a), str(b))
    assert two["difference"] == pytest.approx(-0.3)
    assert (two["only_first_correct"], two["only_second_correct"]) == (5, 2)
    # Seven tosses with at most two heads: 2 (1 + 7 + 21) / 128.
    assert two["mcnemar_p"] == pytest.approx(58 / 128)
    low, high = two["difference_interval"]
    # The standard error is sqrt(0.7 - 0.09) / sqrt(10) = 0.247.
    assert low == pytest.approx(-0.3 - 1.96 * 0.247, abs=0.11)
    assert high == pytest.approx(-0.3 + 1.96 * 0.247, abs=0.11)
    assert (three["only_first_correct"], three["only_second_correct"]) == (0, 1)
    assert three["mcnemar_p"] == 1.0
    assert (found["examples"], found["resamples"]) == (10, 10_000)


def test_the_tables(a, b, monkeypatch):
    monkeypatch.chdir(a.parent)
    lines = compare("a", "b").out.splitlines()
    assert lines[:8] == [
        "test split, 10 examples of 2 classes",
        "",
        "run                          accuracy       95 % interval",
        "a                              0.6000      [0.313, 0.832]",
        "b                              0.3000      [0.108, 0.603]",
        "",
        "difference from the first    accuracy       95 % interval"
        "  only first   only this   McNemar p",
        lines[7],
    ]
    assert lines[7].split()[:2] == ["b", "-0.3000"]
    assert lines[7].split()[-3:] == ["5", "2", "0.45"]


def test_equal_runs_do_not_differ(tmp_path, a):
    same = make_finished(tmp_path / "same", ONE)
    said = compare(a, same, output=tmp_path / "out.json")
    assert said.status == 0, said.err
    (found,) = json.loads((tmp_path / "out.json").read_text())["differences"]
    assert found["difference"] == 0
    assert found["difference_interval"] == [0, 0]
    assert found["mcnemar_p"] == 1


def test_rows_are_paired_by_id_in_any_order(tmp_path, a, b):
    lines = (b / "predictions.csv").read_text().splitlines()
    swapped = [lines[0], *reversed(lines[1:])]
    before = compare(a, b).out
    (b / "predictions.csv").write_text("\n".join(swapped) + "\n")
    assert compare(a, b).out == before


def test_tensorflow_is_not_imported(a, b):
    code = (
        "import runpy, sys, atexit\n"
        "sys.argv = ['main.py', '--stage=compare', f'--workdirs={sys.argv[1]}']"
        "\n"
        "atexit.register(lambda: print(sorted("
        "{'tensorflow', 'keras', 'scipy.stats'} & set(sys.modules))))\n"
        "runpy.run_path('main.py', run_name='__main__')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, f"{a},{b}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "--workdirs='': must be two or more"),
        ("{a}", "must be two or more workdirs, separated by commas"),
        ("{a},", "must be two or more workdirs"),
        ("{a},{b},{a}/", "/a' twice; give each once"),
        ("{a},{a}/../nowhere", "/nowhere': no such folder"),
    ],
)
def test_bad_lists_of_workdirs(a, b, value, words):
    flags = [] if value is None else [f"--workdirs={value.format(a=a, b=b)}"]
    refused(command("--stage=compare", *flags), 2, "--workdirs", words)


def test_flags_of_other_stages_are_refused(a, b):
    said = command("--stage=compare", f"--workdirs={a},{b}", f"--workdir={a}")
    refused(said, 2, "--workdir: not read by --stage=compare")
    said = command("--stage=evaluate", f"--workdir={a}", f"--workdirs={a},{b}")
    refused(said, 2, "--workdirs: not read by --stage=evaluate", "only by comp")


def test_a_study_is_told_to_name_its_models(tmp_path, a):
    study = tmp_path / "study"
    for model in ("model2", "model3"):
        make_finished(study / "seed0" / model, ONE)
    folder = f"{study}/seed0"
    refused(
        compare(a, study),
        2,
        f"{str(study)!r} is the workdir of a study",
        f"such as {folder}/model2,{folder}/model3",
    )
    assert compare(f"{folder}/model2", f"{folder}/model3").status == 0


def test_an_unfinished_run_is_named(tmp_path, a, b):
    (b / "result.json").unlink()
    refused(compare(a, b), 1, f"{str(b)!r}: its run is not finished", "command")
    (b / "config.json").unlink()
    refused(compare(a, b), 1, f"{str(b)!r} holds no run")


def test_missing_predictions_name_the_command(a, b):
    (b / "predictions.csv").unlink()
    refused(
        compare(a, b),
        1,
        f"{b}/predictions.csv: missing",
        f"python main.py --stage=evaluate --workdir={b}",
    )


def test_damaged_predictions_name_file_and_line(a, b):
    path = b / "predictions.csv"
    whole = path.read_text()
    path.write_text(whole.replace("sushi/3.jpg,sushi", "sushi/3.jpg,tart"))
    refused(compare(a, b), 1, f"{path}: line 5: 'tart' is not a class", b)
    rows = whole.splitlines(keepends=True)
    path.write_text("".join(rows[:-1]))
    refused(compare(a, b), 1, f"{path}: its samples are not those of manifest")
    path.write_text(
        "".join([*rows[:-1], rows[-1].replace("sushi,", "pie,", 1)])
    )
    refused(compare(a, b), 1, f"{path}: its samples are not those of manifest")


def manifest_with(workdir: pathlib.Path, **columns) -> None:
    stored = json.loads((workdir / "manifest.json").read_text())
    stored["splits"]["test"].update(columns)
    change(workdir, "manifest.json", splits=stored["splits"])


@pytest.mark.parametrize(
    ("digests", "names", "count", "words"),
    [
        (
            ["d0", "new", *(f"d{i}" for i in range(2, 10))],
            None,
            10,
            "1 with another content (such as 'sushi/1.jpg')",
        ),
        (None, None, 8, "2 missing (such as 'pie/8.jpg')"),
        (None, None, 12, "2 additional (such as 'pie/10.jpg')"),
        (None, ("pie", "soup"), 10, "has the classes ['pie', 'soup']"),
        (None, ("sushi", "pie"), 10, "give runs of the same classes"),
    ],
)
def test_other_test_samples_are_refused(
    tmp_path, a, digests, names, count, words
):
    other = make_finished(
        tmp_path / "other",
        (1,) * count,
        digests=digests,
        names=names or ("pie", "sushi"),
    )
    refused(compare(a, other), 1, f"{str(other)!r} ", repr(str(a)), words)


def test_other_labels_are_refused(a, b):
    manifest_with(b, labels=[1, *(i % 2 for i in range(1, 10))])
    refused(compare(a, b), 1, "1 with another label (such as 'pie/0.jpg')")


@pytest.mark.parametrize(
    "columns",
    [
        {"labels": ["0"] * 10},
        {"labels": [0]},
        {"digests": None},
        {"digests": ["d"] * 9},
        {"ids": ["x"] * 10},
        {"ids": {"x": 1}},
    ],
)
def test_a_damaged_manifest_is_one_line(a, b, columns):
    manifest_with(b, **columns)
    refused(compare(a, b), 1, f"{b}/manifest.json: cannot be read (splits.test")


@pytest.mark.parametrize("splits", [None, {}, {"test": []}, {"train": {}}])
def test_a_manifest_without_the_test_split(a, b, splits):
    change(b, "manifest.json", splits=splits)
    refused(compare(a, b), 1, f"{b}/manifest.json: cannot be read (splits.test")


def test_an_output_that_cannot_be_written(a, b):
    said = compare(a, b, output=a)
    refused(said, 1, f"--output={str(a)!r}: cannot be written to")
