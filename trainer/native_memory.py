"""Memory of this process: returns what is free, and reports the most used.

The C library keeps freed memory for later requests. After a phase that needs
much for a moment, such as the conversion of a model, this may be hundreds of
MiB. Where the C library is not glibc, it is not returned.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator

# Parameter of mallopt, see malloc.h.
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 2**17


@contextlib.contextmanager
def long_lived_imports() -> Iterator[None]:
    """Keeps the garbage collector away from what this block imports.

    TensorFlow and Keras make 600,000 objects that live as long as the process.
    Every full collection would scan them, which takes 0.3 s, and a short run
    has many: Keras collects whenever it clears its session.

    Only the first import of TensorFlow is treated so. Later, or in a program
    that has imported it itself, nothing happens.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
    gc.freeze()


def return_freed() -> None:
    """Frees objects in reference cycles, and returns freed memory."""
    gc.collect()
    _call("malloc_trim", 0)


def return_large_at_once() -> None:
    """Makes memory blocks of 128 KiB and more return as soon as they are freed.

    By default glibc raises this limit up to 32 MiB. The lower limit costs page
    faults when blocks are allocated, and it lasts until the process ends.
    """
    _call("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)


def peak_memory() -> dict[str, float]:
    """Returns the most memory that was used so far, in MiB, by its owner.

    The owners are this process, without its children, and each GPU.
    """
    # Only here, because Windows lacks the module and other parts need none.
    import resource

    import tensorflow as tf

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    found = {"process": round(most / unit, 1)}
    for device in tf.config.list_logical_devices("GPU"):
        name = device.name.removeprefix("/device:")
        info = tf.config.experimental.get_memory_info(name)
        found[name] = round(info["peak"] / 2**20, 1)
    return found


def _call(name: str, *values: int) -> None:
    """Calls a function of the C library, if it is there."""
    try:
        function = getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):
        return
    if function is not None:
        function(*values)
