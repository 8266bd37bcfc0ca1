"""Draws images on all cores.

It starts plain processes and does not use `multiprocessing`. Forked processes
would inherit TensorFlow's threads. Spawned ones would import the caller's main
module again, which does not exist for a notebook or a script on standard input.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from trainer.demo.image import CLASSES, draw_jpeg

_MAX_WORKERS = 16
# Fewer images than this are drawn faster than a process starts.
_IMAGES_PER_WORKER = 60
_LENGTH_BYTES = 4


def rows_of(split: str, count: int) -> list[tuple[str, str, int]]:
    """Returns class, split and number of each image of a split, by class."""
    return [(name, split, i) for name in CLASSES for i in range(count)]


def draw_all(split: str, count: int) -> Iterator[bytes]:
    """Yields the JPEG files of `rows_of(split, count)`, in that order."""
    rows = rows_of(split, count)
    workers = min(
        os.cpu_count() or 1, _MAX_WORKERS, len(rows) // _IMAGES_PER_WORKER
    )
    if workers < 2:
        yield from (draw_jpeg(*row) for row in rows)
        return
    processes = [_start(split, count, i, workers) for i in range(workers)]
    try:
        for i in range(len(rows)):
            yield _next(processes[i % workers])
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _start(
    split: str, count: int, worker: int, workers: int
) -> subprocess.Popen[bytes]:
    root = str(pathlib.Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    numbers = (str(n) for n in (count, worker, workers))
    return subprocess.Popen(
        [sys.executable, "-m", __name__, split, *numbers],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def _next(process: subprocess.Popen[bytes]) -> bytes:
    """Returns the next image that a process has drawn."""
    assert process.stdout is not None
    head = process.stdout.read(_LENGTH_BYTES)
    length = int.from_bytes(head, "big")
    jpeg = process.stdout.read(length)
    if len(head) < _LENGTH_BYTES or len(jpeg) < length:
        raise RuntimeError(
            f"a drawing process exited with status {process.wait()}"
        )
    return jpeg


def _draw(arguments: Sequence[str]) -> None:
    """Writes every n-th image to standard output; the worker's main."""
    split = arguments[0]
    count, worker, workers = (int(n) for n in arguments[1:])
    # The caller handles Ctrl-C; when the caller exits, the pipe closes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for row in rows_of(split, count)[worker::workers]:
        jpeg = draw_jpeg(*row)
        sys.stdout.buffer.write(len(jpeg).to_bytes(_LENGTH_BYTES, "big") + jpeg)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _draw(sys.argv[1:])
