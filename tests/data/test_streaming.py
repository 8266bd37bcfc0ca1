"""A data set that does not fit in the cache is read in bounded memory."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Decoded, the images take 234 MiB as bytes, 938 MiB as float32.
MAX_GROWTH_MIB, MAX_PEAK_MIB = 24, 128


@pytest.mark.slow
@pytest.mark.parametrize("record_format", ["tfrecord", "array_record"])
def test_twenty_thousand_images_are_read_in_bounded_memory(
    tmp_path: pathlib.Path, record_format: str
) -> None:
    program = [sys.executable, "-m", "tests.support.streaming"]
    done = subprocess.run(
        [*program, str(tmp_path), record_format],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    memory = json.loads(done.stdout.splitlines()[-1])
    assert memory["real"] == 20_000 + 43 * 128
    assert not memory["cached"]
    assert memory["end"] - memory["settled"] <= MAX_GROWTH_MIB, memory
    assert memory["peak"] - memory["begin"] <= MAX_PEAK_MIB, memory
