"""TFLite and ONNX models, run by their own runtimes, against the classifier."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.results.conftest import NAMES, PNGS, PX
from trainer.config.backgrounds import parse_background
from trainer.data.rendering import PLAIN, Rendering
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.results.export import Formats, write_export
from trainer.results.export_readme import readme
from trainer.results.format_runners import FormatJob, run_format
from trainer.results.onnx_export import onnx_model
from trainer.results.predict import Predictor
from trainer.results.servable import Served
from trainer.results.tflite_export import tflite_model

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (20, PX, PX, 3), np.uint8)


def by_tflite(content: bytes, images: np.ndarray) -> np.ndarray:
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]
    assert source["shape"].tolist() == [1, PX, PX, 3]
    assert target["dtype"] == np.float32
    found = []
    for image in images.astype(source["dtype"]):
        interpreter.set_tensor(source["index"], image[np.newaxis])
        interpreter.invoke()
        found.append(interpreter.get_tensor(target["index"])[0])
    return np.array(found)


def by_numpy(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Returns probabilities: a 3 x 3 convolution, tanh, mean and softmax."""
    x = images / 255.0
    x = (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    kernel, bias = (w.numpy() for w in classifier.backbone.weights)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    found = np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias
    features = np.tanh(found).mean((1, 2))
    head, offset = (w.numpy() for w in classifier.head.weights)
    powers = np.exp(features @ head + offset)
    return powers / powers.sum(axis=1, keepdims=True)


def expected(
    classifier: Classifier, images: np.ndarray, flip: bool
) -> np.ndarray:
    found = by_numpy(classifier, images)
    if flip:
        found = (found + by_numpy(classifier, images[:, :, ::-1])) / 2
    return found


@pytest.mark.parametrize(
    ("flip", "quantize", "dtype", "within"),
    [
        pytest.param(False, "none", np.float32, 1e-5, id="float32"),
        pytest.param(True, "none", np.float32, 1e-5, id="float32 flip"),
        pytest.param(False, "float16", np.float32, 5e-3, id="float16"),
        pytest.param(True, "int8", np.uint8, 0.1, id="int8 flip"),
    ],
)
def test_tflite_gives_the_probabilities(
    classifier: Classifier,
    flip: bool,
    quantize: str,
    dtype: Any,
    within: float,
) -> None:
    content = tflite_model(
        classifier, flip=flip, quantize=quantize, calibration=IMAGES
    )
    source = tf.lite.Interpreter(model_content=content).get_input_details()[0]
    assert source["dtype"] == dtype
    if quantize == "int8":
        assert source["quantization"] == (1.0, 0)
    found = by_tflite(content, IMAGES)
    own = expected(classifier, IMAGES, flip)
    assert len(set(own.argmax(axis=1))) > 1
    np.testing.assert_allclose(found, own, atol=within)
    if quantize != "none":
        # Otherwise nothing was quantized.
        assert np.abs(found - own).max() > 1e-5


def test_int8_takes_pixels_as_bytes_if_calibration_images_are_grey(
    classifier: Classifier,
) -> None:
    """A narrow range of the input would need other bytes than pixels."""
    grey = np.full((4, PX, PX, 3), 100, np.uint8)
    content = tflite_model(classifier, quantize="int8", calibration=grey)
    details = tf.lite.Interpreter(model_content=content).get_input_details()
    assert details[0]["quantization"] == (1.0, 0)
    assert (grey == 100).all()


def test_a_model_that_cannot_be_converted_is_one_line(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise Exception("no such op\nand a page more")

    monkeypatch.setattr(tf.lite.TFLiteConverter, "convert", fail)
    with pytest.raises(TrainerError) as error:
        tflite_model(classifier, quantize="float16")
    assert str(error.value) == (
        "--export_formats=tflite: with --quantize=float16, TensorFlow cannot"
        " convert the model (no such op); give other formats, or another"
        " --quantize"
    )


@pytest.mark.parametrize(
    "flip", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_onnx_gives_the_probabilities(
    classifier: Classifier, flip: bool
) -> None:
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    content = onnx_model(classifier, flip=flip)
    session = onnxruntime.InferenceSession(content)
    (source,) = session.get_inputs()
    assert (source.name, source.shape) == ("images", ["n", PX, PX, 3])
    images = IMAGES.astype(np.float32)
    (found,) = session.run(["probabilities"], {"images": images})
    own = expected(classifier, IMAGES, flip)
    np.testing.assert_allclose(found, own, atol=1e-5)


def test_an_operation_without_onnx_is_an_error(classifier: Classifier) -> None:
    """tf2onnx itself only logs it."""
    tf2onnx = pytest.importorskip("tf2onnx")
    assert tf2onnx

    class Odd:
        image_px = PX

        def probabilities(self, images: tf.Tensor) -> tf.Tensor:
            return tf.math.erfc(tf.reduce_mean(images, axis=(1, 2)))

    odd: Any = Odd()
    with pytest.raises(
        TrainerError,
        match=r"^--export_formats=onnx: tf2onnx cannot convert the model"
        r" \(.*\); leave onnx out$",
    ):
        onnx_model(odd)


def test_bfloat16_weights_do_not_reach_the_converter() -> None:
    """`open_trained` builds the classifier of an export in float32."""
    from trainer.config import Config
    from trainer.run.trained import _run_here

    run = Config(stage="finetune", workdir="x", precision="bfloat16")
    asked = Config(stage="export", workdir="x")
    assert _run_here(run, asked, frozenset()).precision == "float32"


@pytest.fixture(scope="module")
def formats() -> tuple[str, ...]:
    """Every format whose packages are installed."""
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError:
        return ("saved_model", "keras", "tflite")
    return ("saved_model", "keras", "tflite", "onnx")


@pytest.fixture(scope="module")
def folder(
    classifier: Classifier,
    tmp_path_factory: pytest.TempPathFactory,
    formats: tuple[str, ...],
) -> pathlib.Path:
    """An export in every format."""
    made = tmp_path_factory.mktemp("formats") / "export"
    write_export(
        str(made), classifier, NAMES, PNGS, {}, formats=Formats(formats)
    )
    return made


FILES = {
    "saved_model": "saved_model",
    "keras": "model.keras",
    "tflite": "model.tflite",
    "onnx": "model.onnx",
}


@pytest.mark.parametrize("name", FILES)
def test_each_format_is_run_by_its_own_library(
    classifier: Classifier,
    folder: pathlib.Path,
    tmp_path: pathlib.Path,
    formats: tuple[str, ...],
    name: str,
) -> None:
    if name not in formats:
        pytest.skip("tf2onnx and onnxruntime are not installed")
    np.save(tmp_path / "images.npy", IMAGES)
    job = FormatJob(
        name,
        str(folder / FILES[name]),
        str(tmp_path / "images.npy"),
        str(tmp_path / "found.npy"),
    )
    said = run_format(job)
    assert said["milliseconds"] > 0
    assert said["runtime"][-1].isdigit()
    found = np.load(tmp_path / "found.npy")
    own = by_numpy(classifier, IMAGES)
    np.testing.assert_allclose(found, own, atol=1e-5)


def snippets(text: str) -> list[str]:
    """Returns the code blocks of a README."""
    return [part.split("```")[0] for part in text.split("```python\n")[1:]]


def printed_probabilities(text: str) -> list[float]:
    """Returns what a snippet prints; a name may have line breaks."""
    lines = [line.partition(" ")[0] for line in text.split("\n")]
    return [float(word) for word in lines if word.startswith(("0.", "1."))]


def photo(folder: pathlib.Path, transparent: bool = False) -> str:
    """Writes a smooth image that is larger than the model's."""
    mode = "RGBA" if transparent else "RGB"
    coarse = RNG.integers(0, 256, (3, 4, len(mode)), np.uint8)
    path = folder / "photo.png"
    image = Image.fromarray(coarse, mode).resize((30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    return str(path)


@pytest.mark.parametrize("number", range(4))
def test_the_readmes_code_gives_the_prediction(
    classifier: Classifier,
    folder: pathlib.Path,
    tmp_path: pathlib.Path,
    formats: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    if number >= len(formats):
        pytest.skip("tf2onnx and onnxruntime are not installed")
    code = snippets((folder / "README.md").read_text("utf-8"))
    assert len(code) == len(formats)
    path = photo(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["x.py", path])
    exec(compile(code[number], "README.md", "exec"), {})
    found = printed_probabilities(capsys.readouterr().out)
    predictor = Predictor(classifier, batch_size=2, xla=False)
    (prediction,) = predictor.predict([path])
    assert prediction.probabilities is not None
    # Pillow rounds half of a byte down.
    np.testing.assert_allclose(found, prediction.probabilities, atol=0.02)


RENDERINGS = [
    Rendering(resize="crop"),
    Rendering(resize="pad"),
    Rendering(exif=True),
    Rendering(background=parse_background("white")),
    Rendering(exif=True, background=parse_background("0a14fa"), resize="pad"),
]


@pytest.mark.parametrize("rendering", [PLAIN, *RENDERINGS], ids=str)
def test_the_readmes_code_renders_as_training_does(
    classifier: Classifier,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    rendering: Rendering,
) -> None:
    """Compares the pixels, of a transparent photo that is stored turned."""
    from trainer.data.rendering import render

    served = Served(classifier, NAMES, False, rendering)
    (code,) = snippets(readme(served, ["onnx"]))
    code = code.replace("import onnxruntime\n", "")
    head = code[: code.index("model = ")].replace(
        code[code.index("names = ") : code.index("image = ")], ""
    )
    path = photo(tmp_path, transparent=True)
    monkeypatch.setattr(sys, "argv", ["x.py", path])
    values: dict[str, Any] = {}
    exec(compile(head, "README.md", "exec"), values)
    expected = render(tf.io.read_file(path), PX, rendering).numpy()
    gap = np.abs(values["pixels"][0] - expected)
    # Another resizing differs by far more.
    assert gap.mean() < 1.5
