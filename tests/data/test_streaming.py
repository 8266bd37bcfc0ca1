"""A data set that does not fit is read in bounded memory."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Decoded, they would take 586 MiB in bytes, 2,344 in float32.
GROWTH_MIB, MOST_MIB = 24, 128


@pytest.mark.slow
@pytest.mark.parametrize("record_format", ["tfrecord", "array_record"])
def test_fifty_thousand_images_in_bounded_memory(tmp_path, record_format):
    program = [sys.executable, "-m", "tests.support.streaming"]
    left = subprocess.run(
        [*program, str(tmp_path), record_format],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert left.returncode == 0, left.stderr
    said = json.loads(left.stdout.splitlines()[-1])
    assert said["real"] == 50_000 + 9 * 128
    assert not said["cached"]
    assert said["end"] - said["settled"] <= GROWTH_MIB, said
    assert said["most"] - said["begin"] <= MOST_MIB, said
