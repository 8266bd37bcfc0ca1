"""Imports TensorFlow without the optional packages that Keras would import."""

from __future__ import annotations

import sys

# Keras 3.15 imports these where they are installed, for wrappers and plots that
# this program does not use. Scikit-learn and matplotlib alone take a third of
# the whole import, and 85 MiB.
_OPTIONAL = (
    "IPython",
    "cv2",
    "huggingface_hub",
    "matplotlib",
    "pandas",
    "sklearn",
)


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras as if the optional packages were missing.

    Later imports of these packages work. Packages that are loaded already stay
    visible. For use in the program's own process only: Keras's wrappers of
    scikit-learn would say that it is not installed.
    """
    hidden = [name for name in _OPTIONAL if name not in sys.modules]
    # An import of a name that is bound to None raises ModuleNotFoundError.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
