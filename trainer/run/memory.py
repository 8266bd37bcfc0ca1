"""Finds the memory of this machine, and checks that a batch fits into it."""

from __future__ import annotations

import os

from trainer.errors import UsageError


def check_batch_fits(batch_size: int, image_px: int) -> None:
    """Checks that this machine can hold a batch of images.

    Args:
      batch_size: number of images in one pass.
      image_px: side of an image, in pixels.

    Raises:
      UsageError: a float32 batch is larger than the machine's memory.
    """
    need = batch_size * image_px**2 * 3 * 4
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > have:
        raise UsageError(
            f"--batch_size={batch_size}: one batch of {image_px} x {image_px}"
            f" px images takes {need / 2**30:,.0f} GiB, and this machine has"
            f" {have / 2**30:,.0f}; give a smaller --batch_size"
        )


def free_memory() -> int:
    """Returns the number of bytes that a process can use without swapping.

    If the system does not report it, returns half of the machine's memory.
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
