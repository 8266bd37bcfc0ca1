"""Returns memory that native libraries have freed to the system.

The C library keeps freed memory for later requests. After a phase that needs
much for a moment, such as the conversion of a model, this may be hundreds of
MiB. Both functions do nothing where the C library is not glibc.
"""

from __future__ import annotations

import ctypes
import gc

# Parameter of mallopt, see malloc.h.
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 2**17


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


def _call(name: str, *values: int) -> None:
    """Calls a function of the C library, if it is there."""
    try:
        function = getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):
        return
    if function is not None:
        function(*values)
