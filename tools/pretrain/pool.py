"""The drawn pictures, in one memory-mapped file."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time

import numpy as np

from tools.pretrain.catalogue import draw_picture, picture_classes
from trainer.errors import TrainerError
from trainer.workdir import Workdir

_PICTURES, _RECORD = "pictures.npy", "pictures.json"
_CHUNK = 2000
# How many stored pictures are drawn again before they are used.
_PROBES = 12


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Pictures 0 ... n - 1 of a seed; the last of them are held out.

    Attributes:
      pictures: uint8 (n, px, px, 3), memory-mapped.
      labels: int32 (n,).
      held_out: number of pictures at the end that are not trained on.
    """

    pictures: np.ndarray
    labels: np.ndarray
    held_out: int

    @property
    def training(self) -> int:
        """Number of pictures at the beginning that are trained on."""
        return len(self.pictures) - self.held_out


def labels_of(count: int) -> np.ndarray:
    """int32 (count,): the labels of pictures 0 ... count - 1."""
    labels = np.arange(count) % len(picture_classes())
    return labels.astype(np.int32)


def draw_pool(
    workdir: Workdir,
    *,
    seed: int,
    count: int,
    held_out: int,
    px: int,
) -> Pool:
    """Draws what is not drawn yet.

    Args:
      workdir: where the file is, or goes.
      seed: of the pictures.
      count: pictures to train on.
      held_out: pictures after those.
      px: side of a picture.

    Raises:
      TrainerError: the workdir holds pictures of another request, or of other
        drawing code.
    """
    total = count + held_out
    wanted = {"seed": seed, "pictures": total, "px": px,
              "classes": _digest_of_classes()}  # fmt: skip
    record = workdir.read_json(_RECORD) or {**wanted, "drawn": 0, "seconds": 0}
    path = workdir.file(_PICTURES)
    different = [key for key in wanted if record[key] != wanted[key]]
    if different:
        raise TrainerError(
            f"{path}: drawn with another {' and '.join(different)}; give"
            " another --workdir, or remove it"
        )
    shape = (total, px, px, 3)
    if not os.path.exists(path):
        record["drawn"] = 0
        np.lib.format.open_memmap(path, "w+", np.uint8, shape).flush()
    pictures = np.lib.format.open_memmap(path, "r+")
    _probe(pictures, seed, record["drawn"], path)
    while record["drawn"] < total:
        began = time.perf_counter()
        end = min(record["drawn"] + _CHUNK, total)
        for k in range(record["drawn"], end):
            pictures[k] = draw_picture(seed, k, px)[0]
        pictures.flush()
        record["drawn"] = end
        record["seconds"] += round(time.perf_counter() - began, 3)
        workdir.write_json(_RECORD, record)
        print(f"drawn {end} of {total}", flush=True)
    return Pool(
        pictures=np.lib.format.open_memmap(path, "r"),
        labels=labels_of(total),
        held_out=held_out,
    )


def _digest_of_classes() -> str:
    names = "\n".join(found.name for found in picture_classes())
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def _probe(pictures: np.ndarray, seed: int, drawn: int, path: str) -> None:
    """Refuses pictures that today's code would draw differently."""
    for k in np.linspace(0, drawn - 1, min(_PROBES, drawn)).astype(int):
        now = draw_picture(seed, int(k), pictures.shape[1])[0]
        if not np.array_equal(pictures[k], now):
            raise TrainerError(
                f"{path}: picture {k} is not what is drawn now; the drawing"
                " code or NumPy has changed: give another --workdir, or"
                " remove it"
            )
