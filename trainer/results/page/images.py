"""Images of a page, inside its text."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

_QUALITY, _MAX_PX = 80, 160
# Colours of a map from 0 to 1: blue, cyan, yellow, red.
_LEVELS = np.linspace(0, 1, 4)
_COLOURS = np.array(
    [[40, 60, 190], [40, 200, 210], [250, 220, 50], [215, 40, 30]], np.float64
)
_OPACITY = 0.55


def data_uri(image: np.ndarray, max_px: int = _MAX_PX) -> str:
    """Returns an image as a JPEG in a `data:` URL.

    Args:
      image: (height, width, 3), in 0..255.
      max_px: the longest side.
    """
    shown = Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    shown.thumbnail((max_px, max_px))
    stream = io.BytesIO()
    shown.save(stream, "JPEG", quality=_QUALITY)
    text = base64.b64encode(stream.getvalue()).decode()
    return f"data:image/jpeg;base64,{text}"


def overlaid(image: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Returns an image with a coloured map over it.

    Args:
      image: (height, width, 3), in 0..255.
      activation: float (rows, columns), 0 or more; it is scaled to a maximum
        of 1, and enlarged to the image.

    Returns:
      float64 (height, width, 3), in 0..255.
    """
    scaled = activation / max(float(activation.max()), 1e-12)
    height, width = image.shape[:2]
    enlarged = np.asarray(
        Image.fromarray(scaled.astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
    )
    colours = np.stack(
        [np.interp(enlarged, _LEVELS, _COLOURS[:, i]) for i in range(3)], -1
    )
    return image * (1 - _OPACITY) + colours * _OPACITY
