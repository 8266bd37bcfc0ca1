"""The import of TensorFlow leaves out packages that Keras only offers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_REPORT = """
import json, sys
from trainer.command.tensorflow_import import import_tensorflow
{before}
import_tensorflow()
import keras
loaded = {name: name in sys.modules for name in ("matplotlib", "sklearn")}
layer = keras.layers.Dense(2)
layer.build((None, 3))
import matplotlib.pyplot, sklearn.base
print(json.dumps([loaded, [list(w.shape) for w in layer.weights]]))
"""


def _report(before: str = "") -> list[object]:
    code = _REPORT.replace("{before}", before)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_optional_packages_are_left_out_and_can_be_imported_later() -> None:
    nothing = {"matplotlib": False, "sklearn": False}
    assert _report() == [nothing, [[3, 2], [2]]]


@pytest.mark.slow
def test_a_package_that_is_loaded_already_stays() -> None:
    assert _report(before="import matplotlib") == [
        {"matplotlib": True, "sklearn": False},
        [[3, 2], [2]],
    ]
