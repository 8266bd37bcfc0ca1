"""Predictions and exports of a small trained run."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import Config
from trainer.distribute import multi_worker
from trainer.errors import TrainerError, UsageError
from trainer.model.classifier import make_classifier
from trainer.results.evaluate import Evaluator
from trainer.results.export import keras_model, write_export
from trainer.results.input_files import find_inputs
from trainer.results.predict import (
    Prediction,
    csv_header,
    csv_row,
)
from trainer.run import trained as trained_module
from trainer.run import use
from trainer.run.export import export
from trainer.run.use import evaluate, predict

NAMES = ("apple pie", "sushi", "борщ")


def _predict(workdir, inputs, output, **values):
    given = {"stage", "workdir", "inputs", "output", *values}
    config = Config(
        stage="predict",
        workdir=str(workdir),
        inputs=str(inputs),
        output=str(output),
        **values,
    )
    predict(config, frozenset(given))
    with open(output, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (None, "evaluate: no such JPEG; fix the cause, and start again"),
        (TrainerError("another is gone"), "another is gone"),
    ],
)
def test_an_error_during_evaluation_is_one_line(
    trained, monkeypatch, lost, said
):
    """The message begins with the lost process."""
    workdir, _ = trained

    def fail(self, samples, **options):
        raise tf.errors.InvalidArgumentError(
            None, None, "no such JPEG [[node Decode]]\nand a page more"
        )

    monkeypatch.setattr(Evaluator, "evaluate", fail)
    monkeypatch.setattr(multi_worker, "lost_peer", lambda *args: lost)
    config = Config(stage="evaluate", workdir=str(workdir))
    with pytest.raises(TrainerError) as error:
        evaluate(config, frozenset({"stage", "workdir"}))
    assert str(error.value) == said


def test_predict_writes_a_row_for_an_unknown_url(
    trained, photos, tmp_path, monkeypatch
):
    workdir, _ = trained
    # As a list on standard input may name it.
    listed = ["nosuch://x/a.jpg", f"{photos}/test/sushi/000.jpg"]
    monkeypatch.setattr(use, "find_inputs", lambda given: listed)
    row, good = _predict(workdir, "-", tmp_path / "out.csv")
    assert good["error"] == ""
    assert row["file"] == "nosuch://x/a.jpg"
    assert "no file system for nosuch://" in row["error"]


@pytest.mark.parametrize("batch_size", [4, 8, 100])
def test_predictions_give_the_confusion_of_the_result(
    trained, photos, tmp_path, batch_size
):
    workdir, result = trained
    rows = _predict(
        workdir, f"{photos}/test", tmp_path / "p.csv", batch_size=batch_size
    )
    assert len(rows) == 15
    confusion = np.zeros((3, 3), int)
    for row in rows:
        true = row["file"].split("/")[-2]
        confusion[NAMES.index(true), NAMES.index(row["class_1"])] += 1
        # All three classes are named, so their probabilities add up.
        total = sum(float(row[f"probability_{k}"]) for k in (1, 2, 3))
        assert total == pytest.approx(1, abs=3e-6)
        assert float(row["probability_1"]) >= float(row["probability_2"])
    assert confusion.tolist() == result["test_confusion"]


def test_predict_writes_a_row_for_a_bad_file(trained, tmp_path, photos):
    workdir, _ = trained
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = next((tmp_path / photos).glob("test/*/*.jpg"))
    (folder / "a.jpg").write_bytes(good.read_bytes())
    (folder / "b.jpg").write_bytes(b"<html>not found</html>")
    (folder / "c.jpg").write_bytes(b"")
    (folder / "d.jpg").write_bytes(good.read_bytes()[:200])
    (folder / ".e.jpg").write_bytes(good.read_bytes())
    rows = _predict(workdir, folder, tmp_path / "p.csv", top_k=1)
    assert [row["file"][-5:] for row in rows] == [
        "a.jpg",
        "b.jpg",
        "c.jpg",
        "d.jpg",
    ]
    assert [row["error"].split(";")[0] for row in rows] == [
        "",
        "looks like HTML",
        "an empty file",
        "a broken, truncated or unsupported JPEG",
    ]
    assert [bool(row["class_1"]) for row in rows] == [True] + [False] * 3
    assert "class_2" not in rows[0]


def test_more_classes_than_there_are_is_an_error(trained, tmp_path, photos):
    with pytest.raises(TrainerError, match=r"--top_k=4: .* has 3 classes"):
        _predict(trained[0], photos, tmp_path / "p.csv", top_k=4)


def test_a_row_names_the_most_probable_classes_first():
    prediction = Prediction("a,b.jpg", np.array([0.25, 0.125, 0.625]), "")
    assert csv_header(2) == [
        "file",
        "class_1",
        "probability_1",
        "class_2",
        "probability_2",
        "error",
    ]
    assert csv_row(prediction, NAMES, 2) == [
        "a,b.jpg",
        "борщ",
        "0.625000",
        "apple pie",
        "0.250000",
        "",
    ]
    bad = Prediction("x", None, "an empty file")
    assert csv_row(bad, NAMES, 1) == ["x", "", "", "an empty file"]


def test_inputs_are_a_folder_pattern_file_or_list(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt", "sub/c.jpg", ".h/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def names(inputs, text=""):
        found = find_inputs(inputs, io.StringIO(text))
        return [path.removeprefix(f"{tmp_path}/") for path in found]

    assert names(str(tmp_path)) == ["a.PNG", "b.jpg", "sub/c.jpg"]
    assert names(f"{tmp_path}/*.jpg") == ["b.jpg"]
    assert names(f"{tmp_path}/**/*.jpg") == ["b.jpg", "sub/c.jpg"]
    assert names(f"{tmp_path}/notes.txt") == ["notes.txt"]
    assert names("-", "z.jpg\n\nno such.jpg\n") == ["z.jpg", "no such.jpg"]
    with pytest.raises(UsageError, match=r"--inputs='.*nope.*': no such file"):
        names(f"{tmp_path}/nope*.jpg")


LOAD = """
import glob, json, sys
import tensorflow as tf
folder, photos = sys.argv[1:]
paths = sorted(glob.glob(photos + "/test/*/*.jpg"))
loaded = tf.saved_model.load(folder + "/saved_model")
answer = loaded.signatures["serving_bytes"](
    tf.constant([open(path, "rb").read() for path in paths])
)
model = tf.keras.models.load_model(folder + "/model.keras")
names = model.get_layer("label").get_vocabulary()
places = tf.range(len(names), dtype=tf.int64)
named = loaded.signatures["class_names"](places)["class_names"]
print(json.dumps({
    "labels": [label.decode() for label in answer["label"].numpy()],
    "class_names": [n.decode() for n in named.numpy()],
    "keras_names": names,
    "trainer": any(name.startswith("trainer") for name in sys.modules),
}))
"""


def test_a_warning_does_not_get_into_the_csv(
    trained, photos, monkeypatch, capsys
):
    def paths(opened, *, images, block):
        opened.workdir.warn("falling back to graph")
        return None, types.SimpleNamespace(trunk=None)

    monkeypatch.setattr(use, "open_fast_paths", paths)
    workdir, _ = trained
    given = {"workdir": str(workdir), "inputs": f"{photos}/test/sushi"}
    predict(Config(stage="predict", **given), frozenset({"stage", *given}))
    said = capsys.readouterr()
    assert said.out.startswith("file,")
    assert "warning" not in said.out
    assert "warning: falling back to graph" in said.err


@pytest.mark.slow
def test_an_export_serves_in_a_process_that_has_only_tensorflow(
    trained, photos, tmp_path, capsys
):
    workdir, _ = trained
    config = Config(stage="export", workdir=str(workdir))
    export(config, frozenset({"stage", "workdir"}))
    assert "serving_bytes: largest difference" in capsys.readouterr().out
    folder = workdir / "export"
    record = json.loads((folder / "export.json").read_text())
    assert record["class_names"] == list(NAMES)
    assert set(record["largest_difference"]) == {
        "serving_bytes",
        "serving_default",
        "model.keras",
    }
    answer = json.loads(
        subprocess.run(
            [sys.executable, "-c", LOAD, str(folder), photos],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        ).stdout
    )
    assert answer["trainer"] is False
    assert answer["class_names"] == answer["keras_names"] == list(NAMES)
    rows = _predict(workdir, f"{photos}/test", tmp_path / "p.csv")
    assert answer["labels"] == [row["class_1"] for row in rows]


def _tiny(pixels):
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Conv2D(4, 3, activation="tanh")(inputs)
    return make_classifier(
        keras.Model(inputs, outputs), pixels=pixels, num_classes=3, seed=0
    )


@pytest.mark.parametrize("pixels", ["raw", "tf", "torch", "caffe"])
def test_the_keras_file_holds_the_preprocessing(pixels, tmp_path):
    classifier = _tiny(pixels)
    images = np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 3))
    images = images.astype(np.float32)
    variables = list(classifier.variables.values())
    values = [tf.convert_to_tensor(v.value) for v in variables]
    own = tf.nn.softmax(classifier.logits(variables, values, images))
    keras_model(classifier, NAMES).save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    answer = loaded(images)
    np.testing.assert_allclose(answer["probabilities"], own, atol=1e-5)
    labels = [label.decode() for label in answer["label"].numpy()]
    assert labels == [NAMES[i] for i in np.argmax(own, axis=1)]


def test_an_export_refuses_a_folder_of_other_files(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TrainerError, match="not part of an export"):
        write_export(str(tmp_path), _tiny("raw"), NAMES, [b""], {})
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.slow
def test_an_export_that_computes_otherwise_is_an_error(tmp_path, monkeypatch):
    png = tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy()
    classifier = _tiny("raw")
    other = _tiny("raw")
    other.head.kernel.assign(other.head.kernel + 1.0)
    other.head.bias.assign([3.0, 0.0, 0.0])
    monkeypatch.setattr(
        "trainer.results.export.keras_model",
        lambda classifier, names, **options: keras_model(other, names),
    )
    folder = tmp_path / "export"
    with pytest.raises(TrainerError, match=r"model.keras does not give"):
        write_export(str(folder), classifier, NAMES, [png], {})
    assert not folder.exists()


@pytest.mark.parametrize(
    ("asked", "replicas", "expected"), [(5, 2, 6), (6, 2, 6), (5, 1, 5)]
)
def test_a_stored_batch_is_rounded_up_to_the_replicas(
    trained, monkeypatch, asked, replicas, expected
):
    workdir, _ = trained
    read = trained_module.stored_config
    monkeypatch.setattr(
        trained_module,
        "stored_config",
        lambda *given: dataclasses.replace(read(*given), batch_size=asked),
    )
    config = Config(
        stage="evaluate",
        workdir=str(workdir),
        strategy="mirrored",
        logical_cpus=replicas,
    )
    given = frozenset({"stage", "workdir", "strategy", "logical_cpus"})
    run = trained_module.open_trained(config, given).run
    assert run.batch_size == expected


def test_the_first_bad_file_and_all_turned_ones_are_noted():
    notes = use._Notes()
    found = [
        Prediction("a", None, "empty"),
        Prediction("b", None, "text"),
        Prediction("c", np.zeros(3, np.float32), "", 6),
    ]
    assert list(use._noted(iter(found), notes)) == found
    assert (notes.first_bad, notes.turned) == ("a: empty", ["c"])
