"""Features of images as a NumPy archive, and for TensorBoard's projector."""

from __future__ import annotations

import dataclasses
import io
import math
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from trainer.errors import TrainerError, one_line
from trainer.storage import files

SUFFIX = ".npz"
ARCHIVE = "features.npz"
TENSORS = "tensors.tsv"
METADATA = "metadata.tsv"
SPRITE = "sprite.png"
# The name that TensorBoard looks for.
CONFIG = "projector_config.pbtxt"
# The largest side of an image that TensorBoard's projector takes, pixels.
MAX_SPRITE_PX = 8192
_THUMBNAIL_PX = 64
# A smaller thumbnail shows nothing.
_MIN_THUMBNAIL_PX = 8


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """The labels of embedded images.

    Attributes:
      labels: int32 (n,), indices into the names.
      class_names: in the order of the labels.
      splits: the split of each image.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    splits: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """The features of images.

    Attributes:
      features: float32 (n, channels), one row per readable image.
      names: of the images, printable: their paths, or their ids in a data set.
      labels: None if the images have none.
      bad: name and error of each image that cannot be read.
    """

    features: np.ndarray
    names: tuple[str, ...]
    labels: Labels | None
    bad: tuple[tuple[str, str], ...]


def archive(embedding: Embedding) -> bytes:
    """Returns the content of an .npz file, which needs no pickle.

    It holds `features`, `bad_names` and `bad_errors`; `paths`, or for a data
    set `ids`, `splits`, `labels` and `class_names`.
    """
    labels = embedding.labels
    arrays: dict[str, np.ndarray] = {
        "features": embedding.features,
        "bad_names": _text([name for name, _ in embedding.bad]),
        "bad_errors": _text([error for _, error in embedding.bad]),
    }
    if labels is None:
        arrays["paths"] = _text(embedding.names)
    else:
        arrays["ids"] = _text(embedding.names)
        arrays["splits"] = _text(labels.splits)
        arrays["labels"] = labels.labels
        arrays["class_names"] = _text(labels.class_names)
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _text(values: Sequence[str]) -> np.ndarray:
    return np.array(list(values), dtype=np.str_)


def check_output(output: str) -> None:
    """Checks before the work that the output can be written.

    Raises:
      TrainerError: it cannot.
    """
    is_file = output.endswith(SUFFIX)
    folder = (os.path.dirname(output) or ".") if is_file else output
    try:
        if is_file and files.is_dir(output):
            raise IsADirectoryError(0, "is a folder", output)
        files.make_dirs(folder)
        files.probe(folder)
    except OSError as error:
        raise TrainerError(
            f"--output={output!r}: cannot be written to ({error.strerror});"
            f" give FILE{SUFFIX}, or a folder for TensorBoard's projector"
        ) from error


def write_embedding(
    output: str,
    embedding: Embedding,
    thumbnail: Callable[[int, int], np.ndarray],
) -> str:
    """Writes a file FILE.npz, or a folder for TensorBoard's projector.

    Args:
      output: the file or the folder.
      embedding: at least one row.
      thumbnail: maps a row's number and a side in pixels to its image, uint8
        (side, side, 3).

    Returns:
      A line that says what was written.

    Raises:
      TrainerError: it cannot be written.
    """
    try:
        if output.endswith(SUFFIX):
            files.write_bytes(output, archive(embedding))
            return f"written to {output}"
        return _write_projector(output, embedding, thumbnail)
    except OSError as error:
        raise TrainerError(
            f"--output={output!r}: cannot be written to ({error.strerror});"
            " give another"
        ) from error


def _write_projector(
    folder: str,
    embedding: Embedding,
    thumbnail: Callable[[int, int], np.ndarray],
) -> str:
    files.write_bytes(os.path.join(folder, ARCHIVE), archive(embedding))
    with files.output_stream(os.path.join(folder, TENSORS)) as stream:
        for row in embedding.features:
            # Nine digits determine a float32.
            stream.write("\t".join(f"{x:.9g}" for x in row.tolist()) + "\n")
    with files.output_stream(os.path.join(folder, METADATA)) as stream:
        stream.write(metadata(embedding))
    config = ProjectorConfig()
    shown = config.embeddings.add()
    shown.tensor_name = "features"
    shown.tensor_path = TENSORS
    shown.metadata_path = METADATA
    shown.tensor_shape.extend(embedding.features.shape)
    count = len(embedding.names)
    side = thumbnail_px(count)
    if side:
        image = sprite(count, side, thumbnail)
        encoded = tf.io.encode_png(image).numpy()
        files.write_bytes(os.path.join(folder, SPRITE), encoded)
        shown.sprite.image_path = SPRITE
        shown.sprite.single_image_dim.extend((side, side))
    # Last, so that TensorBoard finds complete files.
    files.write_text(
        os.path.join(folder, CONFIG), text_format.MessageToString(config)
    )
    return f"written to {folder}; tensorboard --logdir {folder} shows them"


def metadata(embedding: Embedding) -> str:
    """Returns the projector's table of names and labels, as TSV.

    TensorBoard takes the first line as a header if there are several columns.
    Tabs, line breaks and other invisible characters are escaped.
    """
    names = [one_line(name) for name in embedding.names]
    labels = embedding.labels
    if labels is None:
        return "".join(f"{name}\n" for name in names)
    classes = [one_line(name) for name in labels.class_names]
    lines = ["id\tclass\tsplit"]
    lines += [
        f"{name}\t{classes[label]}\t{split}"
        for name, label, split in zip(
            names, labels.labels.tolist(), labels.splits, strict=True
        )
    ]
    return "".join(f"{line}\n" for line in lines)


def thumbnail_px(count: int) -> int:
    """Returns the side of the thumbnails of `count` images, in pixels.

    Their square grid is at most `MAX_SPRITE_PX` wide. Returns 0 if so many
    images leave no visible thumbnail.
    """
    side = min(_THUMBNAIL_PX, MAX_SPRITE_PX // _columns(count))
    return side if side >= _MIN_THUMBNAIL_PX else 0


def sprite(
    count: int, side: int, thumbnail: Callable[[int, int], np.ndarray]
) -> np.ndarray:
    """Returns one image of all thumbnails, row by row in a square grid.

    Args:
      count: number of images, at least 1.
      side: of a thumbnail, in pixels.
      thumbnail: see `write_embedding`.

    Returns:
      uint8 (rows * side, columns * side, 3); empty cells are white.
    """
    columns = _columns(count)
    rows = -(-count // columns)
    found = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for number in range(count):
        y, x = (place * side for place in divmod(number, columns))
        found[y : y + side, x : x + side] = thumbnail(number, side)
    return found


def _columns(count: int) -> int:
    """Returns the number of columns: the root of the count, rounded up."""
    return math.isqrt(count - 1) + 1
