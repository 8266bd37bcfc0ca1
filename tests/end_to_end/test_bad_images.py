"""Whole runs on a folder of all the strange and malformed images."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.support.command import Said, arguments, command
from tests.support.corpus import BAD, GOOD, put, put_all
from tests.support.manifests import build
from tests.support.photos import make_photos
from tests.support.runs import lines
from tests.support.tiny import use_tiny_backbone
from trainer.data.formats import what_is_wrong
from trainer.data.samples import printable
from trainer.errors import one_line

pytestmark = pytest.mark.slow

CLASSES = ("apple pie", "борщ")
# As many as the corpus has images that do not stand upright.
TURNED = sum(good.orientation != 1 for good in GOOD.values())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """`photos`, of which train/apple pie/odd is the corpus."""
    folder = tmp_path_factory.mktemp("odd")
    make_photos(folder / "photos", train=3, test=3, classes=CLASSES)
    put_all(folder / "photos/train/apple pie/odd")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_backbone(monkeypatch)
        yield folder


def start(root: pathlib.Path, workdir: pathlib.Path, **flags: object) -> Said:
    values: dict[str, object] = {
        "stage": "feature_extract",
        "dataset": root / "photos",
        "backbone": "MobileNetV2",
        "weights": "none",
        "image_size": 32,
        "batch_size": 8,
        "epochs": 1,
        "workdir": workdir,
        **flags,
    }
    return command(*arguments(values))


@pytest.fixture(scope="module")
def trained(root: pathlib.Path) -> tuple[pathlib.Path, Said]:
    """A workdir trained on what can be read, and what was said."""
    said = start(root, root / "run", on_bad_image="skip")
    assert said.status == 0, said.err
    return root / "run", said


def names_of(root: pathlib.Path) -> dict[str, str]:
    """Printable path -> name in the corpus."""
    folder = root / "photos/train/apple pie/odd"
    return {printable(str(folder / name)): name for name in (*GOOD, *BAD)}


def test_all_bad_images_are_named_before_training(
    root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    said = start(root, tmp_path / "run")
    assert said.status == 1
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert f"(and {len(BAD) - 1} more); fix or remove it, or" in said.err
    assert not (tmp_path / "run").exists()
    named = [
        line.removeprefix("cannot be used: ")
        for line in said.out.splitlines()
        if line.startswith("cannot be used: ")
    ]
    assert len(named) == len(BAD)
    for path, name in names_of(root).items():
        if name in BAD:
            (line,) = [n for n in named if n.startswith(f"{path}: ")]
            assert BAD[name].reason in line


def test_skipped_images_are_recorded(
    root: pathlib.Path, trained: tuple[pathlib.Path, Said]
) -> None:
    workdir, said = trained
    manifest = json.loads((workdir / "manifest.json").read_text("utf-8"))
    names = names_of(root)
    skipped = {names[bad["path"]]: bad for bad in manifest["skipped"]}
    assert skipped.keys() == BAD.keys()
    for name, bad in skipped.items():
        assert BAD[name].reason in bad["reason"]
        assert bad["split"] == "train"
        line = one_line(f"left out {bad['path']}: {bad['reason']}")
        assert f"warning: {line}\n" in said.out
    result = json.loads((workdir / "result.json").read_text("utf-8"))
    assert result["train_examples"] == 6 + len(GOOD)
    assert len(manifest["train_ids"]) == 6 + len(GOOD)


def test_the_fingerprint_is_of_the_used_images(
    root: pathlib.Path,
    trained: tuple[pathlib.Path, Said],
    tmp_path: pathlib.Path,
) -> None:
    """A folder without the bad ones gives the same one."""
    stored = json.loads((trained[0] / "manifest.json").read_text("utf-8"))
    photos = root / "photos"
    for part in ("test", "train/борщ"):
        shutil.copytree(photos / part, tmp_path / part)
    shutil.copytree(
        photos / "train/apple pie",
        tmp_path / "train/apple pie",
        ignore=shutil.ignore_patterns("odd"),
    )
    odd = tmp_path / "train/apple pie/odd"
    odd.mkdir()
    for name in GOOD:
        put(odd, name)
    assert build(tmp_path, data_pct=100).fingerprint == stored["fingerprint"]


def test_turned_images_are_one_warning(
    root: pathlib.Path, trained: tuple[pathlib.Path, Said]
) -> None:
    workdir, said = trained
    warnings = [
        line["text"]
        for line in lines(workdir, "events.jsonl")
        if line["event"] == "warning" and "EXIF" in line["text"]
    ]
    assert len(warnings) == 1
    odd = root / "photos/train/apple pie/odd"
    assert warnings[0].startswith(
        f"{TURNED} photos, such as {odd}/turned.png, are stored on their side"
    )
    assert "train with --exif=apply in another --workdir" in warnings[0]
    assert f"warning: {warnings[0]}\n" in said.out
    manifest = json.loads((workdir / "manifest.json").read_text("utf-8"))
    assert manifest["turned"] == TURNED
    assert sum(n != 1 for n in manifest["splits"]["train"]["orientations"]) == (
        TURNED
    )


def test_a_run_with_bad_images_resumes_and_evaluates(
    root: pathlib.Path, trained: tuple[pathlib.Path, Said]
) -> None:
    workdir = root / "resumed"
    shutil.copytree(trained[0], workdir)
    said = start(root, workdir, on_bad_image="skip", epochs=2)
    assert (said.status, said.err) == (0, "")
    result = json.loads((workdir / "result.json").read_text("utf-8"))
    assert result["epochs"] == 2
    # Nothing is read again, and the orientations are still known.
    assert f"warning: {TURNED} photos, such as " in said.out
    said = command("--stage=evaluate", f"--workdir={workdir}")
    assert (said.status, said.err) == (0, "")
    figures = json.loads((workdir / "evaluation.json").read_text("utf-8"))
    for name in ("test_loss", "test_confusion"):
        assert figures[name] == result[name]


@pytest.fixture(scope="module")
def rows(
    root: pathlib.Path, trained: tuple[pathlib.Path, Said]
) -> dict[str, dict[str, str]]:
    """The CSV row of --stage=predict for each file of the corpus, by name."""
    said = command(
        "--stage=predict",
        f"--workdir={trained[0]}",
        f"--inputs={root}/photos/train/apple pie/odd",
        f"--output={root}/rows.csv",
    )
    assert said.status == 0
    summary, warning = said.err.splitlines()
    assert f"{len(GOOD) + len(BAD)} files with" in summary
    assert f"{len(BAD)} of them could not be read" in summary
    assert warning.startswith(f"warning: {TURNED} photos, such as ")
    with open(root / "rows.csv", encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    names = names_of(root)
    assert len(found) == len(names)
    return {names[row["file"]]: row for row in found}


def test_predict_has_a_row_for_each(rows: dict[str, dict[str, str]]) -> None:
    for name, row in rows.items():
        if name in GOOD:
            assert row["error"] == ""
            assert row["class_1"] in CLASSES
            assert 0.5 <= float(row["probability_1"]) <= 1
        else:
            assert BAD[name].reason in row["error"]
            assert row["class_1"] == ""


def test_an_export_answers_like_predict_and_survives_bad_files(
    trained: tuple[pathlib.Path, Said], rows: dict[str, dict[str, str]]
) -> None:
    workdir = trained[0]
    said = command(
        "--stage=export",
        f"--workdir={workdir}",
        "--export_formats=saved_model",
    )
    assert said.status == 0, said.err
    loaded = tf.saved_model.load(str(workdir / "export/saved_model"))
    serve = loaded.signatures["serving_bytes"]
    answer = serve(tf.constant([good.encoded for good in GOOD.values()]))
    probabilities = answer["probabilities"].numpy()
    for name, own, label in zip(
        GOOD, probabilities, answer["label"].numpy(), strict=True
    ):
        assert label.decode() == rows[name]["class_1"], name
        theirs = float(rows[name]["probability_1"])
        assert own.max() == pytest.approx(theirs, abs=1e-5), name
    assert np.ptp(probabilities[:, 0]) > 1e-3  # The images differ.
    for bad in BAD.values():
        if isinstance(bad.put, bytes):
            assert what_is_wrong(bad.put)
            with pytest.raises(tf.errors.InvalidArgumentError):
                serve(tf.constant([bad.put]))


def test_a_folder_name_that_is_not_utf8_works(
    root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    photos = tmp_path / os.fsdecode(b"\xff photos")
    make_photos(photos, train=3, test=3, classes=CLASSES)
    (photos / "train/борщ/000.jpg").write_bytes(b"")
    path = rf"{tmp_path}/\xff photos/train/борщ/000.jpg"
    said = start(photos, tmp_path / "run", dataset=photos)
    assert said.err.startswith(f"error: {path}: an empty file; fix")
    said = start(photos, tmp_path / "run", dataset=photos, on_bad_image="skip")
    assert (said.status, said.err) == (0, "")
    config = json.loads((tmp_path / "run/config.json").read_text("utf-8"))
    assert config["config"]["dataset"] == str(photos)


def test_predict_reads_any_bytes_as_names_of_files(
    trained: tuple[pathlib.Path, Said], tmp_path: pathlib.Path
) -> None:
    """A name may be any bytes but NUL; a list may hold even that."""
    good = [
        os.fsencode(put(tmp_path, name))
        for name in GOOD
        if name.startswith(("-", "ünï", "no ", "lll")) or "\udcff" in name
    ]
    assert len(good) == 4
    bad = [b"a\0b.jpg", b"\xff\xfe.jpg", b"-", os.fsencode(tmp_path)]
    ended = subprocess.run(
        [
            sys.executable,
            "main.py",
            "--stage=predict",
            f"--workdir={trained[0]}",
            "--inputs=-",
        ],
        input=b"\n".join(good + bad),
        capture_output=True,
        env={
            **os.environ,
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        },
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    found = list(csv.DictReader(ended.stdout.decode("ascii").splitlines()))
    assert [row["error"] for row in found] == [
        *[""] * 4,
        "cannot be read (embedded null byte)",
        *["cannot be read (No such file or directory)"] * 2,
        "not a regular file",
    ]
    assert [row["file"] for row in found[4:7]] == [
        "a\\x00b.jpg",
        "\\xff\\xfe.jpg",
        "./-",
    ]
    escaped = {ascii(name)[1:-1] for name in CLASSES}
    assert {row["class_1"] for row in found[:4]} <= escaped
