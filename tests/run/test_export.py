"""Exports in all formats, of a small trained run."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from importlib import util
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.results.test_tflite_onnx import printed_probabilities, snippets
from tests.run.test_use import _predict
from tests.support.classifiers import tiny_classifier, tiny_images
from trainer.config import Config
from trainer.config.fields import NONE
from trainer.data.rendering import render
from trainer.errors import TrainerError, UsageError
from trainer.results.export import Formats
from trainer.results.format_runners import FormatJob
from trainer.run import apart
from trainer.run import export as export_module
from trainer.run.export import export
from trainer.run.export_check import FormatCheck
from trainer.run.export_checks import check_formats

FORMATS = ["saved_model", "keras", "tflite"]
if util.find_spec("tf2onnx") and util.find_spec("onnxruntime"):
    FORMATS.append("onnx")
# Printed between the outputs of two formats.
END = "--- end ---"
GIVEN = frozenset({"stage", "workdir", "export_formats", "quantize"})


@pytest.fixture(scope="module")
def exported(
    trained: tuple[pathlib.Path, Mapping[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> pathlib.Path:
    """An export in all formats, tflite in int8."""
    folder = tmp_path_factory.mktemp("exported") / "export"
    config = Config(
        stage="export",
        workdir=str(trained[0]),
        output=str(folder),
        export_formats=",".join(FORMATS),
        quantize="int8",
        force=True,
    )
    export(config, GIVEN | {"output", "force"})
    return folder


@pytest.mark.slow
def test_the_record_has_the_accuracy_of_each_format(
    trained: tuple[pathlib.Path, Mapping[str, Any]],
    photos: str,
    exported: pathlib.Path,
) -> None:
    record = json.loads((exported / "export.json").read_text("utf-8"))
    assert record["measured_images"] == record["measured_of"] == 15
    own = trained[1]["test_accuracy"]
    assert record["original_accuracy"] == pytest.approx(own)
    assert list(record["formats"]) == FORMATS
    for name in set(FORMATS) - {"tflite"}:
        found = record["formats"][name]
        assert found["accuracy"] == pytest.approx(own)
        assert found["agreement"] == 1
        assert found["largest_difference"] < 1e-4
        assert found["size_bytes"] > 1000
    content = (exported / "model.tflite").read_bytes()
    tflite = record["formats"]["tflite"]
    assert tflite["accuracy"] == pytest.approx(accuracy(content, photos))
    assert tflite["size_bytes"] == len(content)


def accuracy(content: bytes, photos: str) -> float:
    """Returns the accuracy of an int8 model, run here."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]["index"]
    correct = []
    paths = sorted(pathlib.Path(photos).glob("test/*/*.jpg"))
    names = sorted({path.parent.name for path in paths})
    for path in paths:
        image = render(tf.constant(path.read_bytes()), 32).numpy()
        interpreter.set_tensor(source["index"], image[np.newaxis].astype("u1"))
        interpreter.invoke()
        found = interpreter.get_tensor(target).argmax()
        correct.append(names[found] == path.parent.name)
    return float(np.mean(correct))


@pytest.mark.slow
def test_the_readmes_code_runs_without_the_trainer(
    trained: tuple[pathlib.Path, Mapping[str, Any]],
    photos: str,
    exported: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    """All run in one process, because each import of TensorFlow takes time."""
    (path,) = pathlib.Path(photos).glob("test/sushi/000.jpg")
    code = snippets((exported / "README.md").read_text("utf-8"))
    assert len(code) == len(FORMATS)
    found = subprocess.run(
        [sys.executable, "-I", "-c", f"\nprint({END!r})\n".join(code), path],
        cwd=exported,
        check=True,
        capture_output=True,
    )
    (row,) = _predict(trained[0], path, tmp_path / "p.csv")
    own = {row[f"class_{k}"]: row[f"probability_{k}"] for k in (1, 2, 3)}
    names = (exported / "labels.txt").read_text("utf-8").splitlines()
    expected = [float(own[name]) for name in names]
    printed = found.stdout.decode().split(END)
    for name, text in zip(FORMATS, printed, strict=True):
        np.testing.assert_allclose(
            printed_probabilities(text),
            expected,
            atol=0.1 if name == "tflite" else 0.02,
            err_msg=name,
        )


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        pytest.param("tf2onnx", "tf2onnx", id="one"),
        pytest.param("", "tf2onnx, onnx, onnxruntime", id="all"),
    ],
)
def test_a_missing_package_is_named_with_the_remedy(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    missing: str,
) -> None:
    def find(package: str) -> str | None:
        return None if name in ("", package) else package

    monkeypatch.setattr(util, "find_spec", find)
    config = Config(
        stage="export", workdir=str(tmp_path), export_formats="keras,onnx"
    )
    with pytest.raises(UsageError) as error:
        check_formats(config)
    assert str(error.value) == (
        f"--export_formats=keras,onnx: onnx needs the packages {missing};"
        " install them with pip install '.[export]', or leave it out"
    )


def test_the_backbone_of_the_run_is_checked(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda package: package)
    (tmp_path / "config.json").write_text(
        json.dumps({"config": {"backbone": "ConvNeXtBase"}})
    )
    config = Config(
        stage="export", workdir=str(tmp_path), export_formats="onnx"
    )
    with pytest.raises(UsageError, match="onnx does not work with ConvNeXtB"):
        check_formats(config)


def test_a_tensorflow_without_lite_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export_module, "check_formats", lambda config: None)
    monkeypatch.setattr(export_module, "tf", object())
    config = Config(stage="export", workdir="x", export_formats="tflite")
    with pytest.raises(UsageError) as error:
        export(config, GIVEN)
    assert str(error.value) == (
        "--export_formats=tflite: this TensorFlow has no tf.lite; leave tflite"
        " out"
    )


def test_int8_without_photos_names_the_flag() -> None:
    config = Config(
        stage="export",
        workdir="x",
        export_formats="tflite",
        quantize="int8",
    )
    trained: Any = None
    with pytest.raises(TrainerError) as error:
        export_module._formats(config, trained, None)
    assert str(error.value) == (
        "--quantize=int8: measures ranges on training photos, but the run's"
        " photos cannot be read; give --dataset=FOLDER, or another --quantize"
    )


IMAGES = tiny_images(20).astype(np.uint8)


def check_with(
    monkeypatch: pytest.MonkeyPatch,
    folder: pathlib.Path,
    wrong: int,
    *,
    quantize: str,
    force: bool = False,
) -> list[str]:
    """Checks a model that is wrong of some images; returns the warnings.

    The original is always right.
    """
    classifier = tiny_classifier()
    own = classifier.probabilities(IMAGES.astype(np.float32)).numpy()

    def ask(module: str, job: FormatJob) -> dict[str, Any]:
        assert module == "trainer.run.format_process"
        np.testing.assert_array_equal(np.load(job.images), IMAGES)
        found = own.copy()
        found[:wrong] = np.roll(own[:wrong], 1, axis=1)
        np.save(job.answers, found)
        return {"milliseconds": 1.0, "runtime": "none 1"}

    monkeypatch.setattr(apart, "ask", ask)
    (folder / "model.tflite").write_bytes(b"12345")
    warnings: list[str] = []
    check = FormatCheck(
        classifier=classifier,
        flip=False,
        thresholds=None,
        pixels=IMAGES,
        labels=own.argmax(axis=1),
        of_images=30,
        split="test",
        force=force,
        warn=warnings.append,
    )
    found = check.measure(str(folder), Formats(("tflite",), quantize))
    assert (found.accuracy, found.images, found.of_images) == (1, 20, 30)
    assert found.formats[0].size_bytes == 5
    assert found.formats[0].accuracy == pytest.approx(1 - wrong / 20)
    assert found.formats[0].agreement == pytest.approx(1 - wrong / 20)
    return warnings


@pytest.mark.parametrize(
    ("wrong", "force", "warnings"),
    [
        pytest.param(0, False, [], id="nothing lost"),
        pytest.param(
            1,
            False,
            [
                "tflite int8 loses 5.0 points of accuracy (1.0000 to 0.9500)",
            ],
            id="5 points",
        ),
        pytest.param(
            4,
            True,
            [
                "tflite int8 loses 20.0 points of accuracy (1.0000 to 0.8000)",
            ],
            id="20 points by force",
        ),
    ],
)
def test_a_loss_of_int8_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    wrong: int,
    force: bool,
    warnings: list[str],
) -> None:
    found = check_with(
        monkeypatch, tmp_path, wrong, quantize="int8", force=force
    )
    assert found == warnings


def test_a_large_loss_of_int8_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(TrainerError, match=r"loses 20.0 points .* --force to"):
        check_with(monkeypatch, tmp_path, 4, quantize="int8")


def test_force_is_not_for_float_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(TrainerError, match="tflite does not give this"):
        check_with(monkeypatch, tmp_path, 1, quantize=NONE, force=True)


def test_a_model_that_cannot_be_loaded_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def ask(module: str, job: FormatJob) -> dict[str, Any]:
        raise TrainerError("ValueError: no such op")

    check = FormatCheck(
        classifier=tiny_classifier(),
        flip=False,
        thresholds=None,
        pixels=IMAGES,
        labels=None,
        of_images=None,
        split="",
        force=False,
        warn=print,
    )
    monkeypatch.setattr(apart, "ask", ask)
    with pytest.raises(TrainerError) as error:
        check.measure(str(tmp_path), Formats(("onnx",)))
    assert str(error.value) == (
        "--export_formats: onnx cannot be loaded again (ValueError: no such"
        " op); nothing was exported; leave onnx out"
    )
