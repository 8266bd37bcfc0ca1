"""README.md of an export: code that loads each format."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.config.fields import (
    CROP,
    INT8,
    KERAS_FORMAT,
    NONE,
    ONNX,
    PAD,
    SAVED_MODEL,
    TFLITE,
)
from trainer.data.rendering import Rendering
from trainer.results.export_files import MODELS, RECORD
from trainer.results.servable import Served

README = "README.md"
_TITLES = {
    SAVED_MODEL: "SavedModel",
    KERAS_FORMAT: "Keras",
    TFLITE: "TFLite",
    ONNX: "ONNX",
}
_NEEDS = {
    SAVED_MODEL: "tensorflow",
    KERAS_FORMAT: "tensorflow pillow",
    TFLITE: "ai-edge-litert pillow",
    ONNX: "onnxruntime pillow",
}
_RUN = {
    KERAS_FORMAT: f"""\
model = keras.models.load_model("{MODELS[KERAS_FORMAT]}")
probabilities = model(pixels)["probabilities"].numpy()[0]
""",
    TFLITE: f"""\
model = Interpreter("{MODELS[TFLITE]}")
model.allocate_tensors()
model.set_tensor(model.get_input_details()[0]["index"], pixels)
model.invoke()
probabilities = model.get_tensor(model.get_output_details()[0]["index"])[0]
""",
    ONNX: f"""\
model = onnxruntime.InferenceSession("{MODELS[ONNX]}")
probabilities = model.run(["probabilities"], {{"images": pixels}})[0][0]
""",
}
_IMPORTS = {
    KERAS_FORMAT: """\
import keras
import numpy as np
from PIL import {pillow}
""",
    TFLITE: """\
import numpy as np
from PIL import {pillow}

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    import tensorflow as tf

    Interpreter = tf.lite.Interpreter
""",
    ONNX: """\
import numpy as np
import onnxruntime
from PIL import {pillow}
""",
}


def readme(served: Served, formats: Sequence[str], quantize: str = NONE) -> str:
    """Returns the text of README.md.

    Args:
      served: what the models serve.
      formats: the names of the formats.
      quantize: of the tflite model.
    """
    px = served.classifier.image_px
    parts = [
        "# Exported image classifier",
        "Run the code in this folder, with the path of an image as the"
        " argument. It prints the probability of each class.",
        f"The models take RGB pixels from 0 to 255, {px} x {px} per image;"
        " all other preprocessing is in the models. `serving_bytes` of the"
        " SavedModel takes whole files. The code for the other formats resizes"
        " as in training: bilinear, without antialiasing. Another resizing"
        " changes probabilities a little.",
        f"`{RECORD}` and `labels.txt` list the classes in the order of the"
        " probabilities, `model_card.md` accuracies, sizes and limits."
        + (
            ""
            if served.thresholds is None
            else " An image has each label whose probability is at least its"
            f" threshold in `{RECORD}`."
        ),
    ]
    for name in formats:
        # Pixels of TFLite's int8 model are bytes.
        dtype = "uint8" if (name, quantize) == (TFLITE, INT8) else "float32"
        parts += [
            f"## {_TITLES[name]}",
            f"`pip install {_NEEDS[name]}`",
            f"```python\n{_snippet(name, served, dtype)}```",
        ]
    return "\n\n".join(parts) + "\n"


def _snippet(name: str, served: Served, dtype: str) -> str:
    if name == SAVED_MODEL:
        return f"""\
import json
import sys

import tensorflow as tf

names = json.load(open("{RECORD}", encoding="utf-8"))["class_names"]
model = tf.saved_model.load("{MODELS[SAVED_MODEL]}")
encoded = tf.constant([open(sys.argv[1], "rb").read()])
answer = model.signatures["serving_bytes"](images=encoded)
probabilities = answer["probabilities"].numpy()[0]
{_PRINT}"""
    exif = served.rendering.exif
    pillow = "Image, ImageOps" if exif else "Image"
    return f"""\
import json
import sys

{_IMPORTS[name].format(pillow=pillow)}
names = json.load(open("{RECORD}", encoding="utf-8"))["class_names"]
image = Image.open(sys.argv[1])
{_pixels(served.rendering, served.classifier.image_px)}\
pixels = np.asarray(image, "{dtype}")[np.newaxis]
{_RUN[name]}{_PRINT}"""


_PRINT = """\
for name, probability in zip(names, probabilities):
    print(f"{probability:.6f} {name}")
"""


def _pixels(rendering: Rendering, px: int) -> str:
    """Returns code that renders `image` as training does."""
    lines = []
    if rendering.exif:
        lines.append("image = ImageOps.exif_transpose(image)")
    colour = rendering.background
    if colour is None:
        lines.append('image = image.convert("RGB")')
    else:
        lines += [
            'image = image.convert("RGBA")',
            f'behind = Image.new("RGBA", image.size, {(*colour, 255)})',
            'image = Image.alpha_composite(behind, image).convert("RGB")',
        ]
    lines += ["width, height = image.size", *_resized(rendering, px)]
    return "\n".join(lines) + "\n"


def _resized(rendering: Rendering, px: int) -> list[str]:
    """Returns lines that resize `image`, without antialiasing."""
    size, box = f"({px}, {px})", "(0, 0, width, height)"
    before, after = [], []
    if rendering.resize == CROP:
        box = "(left, top, left + side, top + side)"
        before = [
            "side = min(width, height)",
            "left, top = (width - side) // 2, (height - side) // 2",
        ]
    elif rendering.resize == PAD:
        colour = rendering.background or (0, 0, 0)
        size = "(columns, rows)"
        before = [
            "side = max(width, height)",
            f"columns = max(width * {px} // side, 1)",
            f"rows = max(height * {px} // side, 1)",
        ]
        after = [
            f'square = Image.new("RGB", ({px}, {px}), {colour})',
            f"square.paste(image, (({px} - columns) // 2, ({px} - rows) // 2))",
            "image = square",
        ]
    return [
        *before,
        "image = image.transform(",
        f"    {size}, Image.Transform.EXTENT, {box},",
        "    Image.Resampling.BILINEAR,",
        ")",
        *after,
    ]
