"""Files mutated at random: each loads, or is rejected in one line.

The files are read in another process, so that a crash of a native library is a
failure that names the kind of file and the seed. To see one again:

    python -m tests.model.weights.test_fuzz KIND FOLDER FIRST END
"""

from __future__ import annotations

import collections
import faulthandler
import functools
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import Config
from trainer.errors import TrainerError
from trainer.learning.restoring import restore_variables
from trainer.model.architectures import architecture_json
from trainer.model.backbones import FORM_KERAS_NONE, find_backbone
from trainer.model.classifier import Classifier, make_classifier
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import plan_weights, weights_digest
from trainer.run.classifiers import stored_classifier
from trainer.workdir import BACKBONE, Workdir

MUTATIONS = 60
ARCHITECTURE = "architecture"
_SECONDS, _DEADLY_SECONDS, _MIB = 5.0, 30, 1024
_DATA = ".data-00000-of-00001"
# Has two forms, so that what tells them is read too.
_BACKBONE = find_backbone("EfficientNetB0")


def tiny_classifier() -> Classifier:
    """Conv -> norm -> conv, under a head."""
    keras.utils.clear_session()
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(4, 3, name="stem_conv")(x)
    backbone = keras.Model(inputs, x, name="tiny")
    return make_classifier(backbone, pixels="raw", num_classes=2, seed=0)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns the bytes with some bits, some bytes or a whole part changed."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = int(rng.integers(len(data) + 1)) if data else 0
        length = int(2 ** rng.uniform(0, 9))
        match rng.integers(7):
            case 0 if at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                del data[at:]
            case 2:
                data[at : at + length] = bytes(len(data[at : at + length]))
            case 3:
                data[at:at] = rng.bytes(length)
            case 4:
                start = int(rng.integers(len(data) + 1))
                data[at : at + length] = data[start : start + length]
            case 5:
                data[at : at + 8] = b"\xff" * len(data[at : at + 8])
            case _:
                del data[at : at + length]
    return bytes(data)


def renumbered(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns JSON with one value replaced, which still parses."""
    values = list(re.finditer(rb"\b(\d+|true|false|null)\b", content))
    start, end = values[int(rng.integers(len(values)))].span()
    other = (b"null", b"-1", b"0", b"3", b"0.5", b"[]", b"{}", b"true")
    large = str(int(10 ** rng.uniform(1, 20))).encode()
    new = large if rng.integers(2) else other[int(rng.integers(len(other)))]
    return content[:start] + new + content[end:]


def load(path: str, classifier: Classifier) -> None:
    """Loads a file as a run does for --weights."""
    plan = plan_weights(
        path, backbone=_BACKBONE, weights_origin=FORM_KERAS_NONE
    )
    weights_digest(plan)
    load_weights(
        classifier.backbone, plan, backbone=_BACKBONE, backbone_args={}
    )


def restore(path: str, classifier: Classifier) -> None:
    """Restores a checkpoint as a run does from its workdir."""
    restore_variables(path, classifier.variables)


def rebuild(path: str, classifier: Classifier) -> None:
    """Rebuilds a classifier as a run does from its workdir."""
    workdir, config = (
        Workdir(os.path.dirname(path)),
        Config(precision="float32"),
    )
    stored_classifier(workdir, config, tf.distribute.get_strategy(), 2)


def write(kind: str, folder: pathlib.Path, tiny: Classifier) -> pathlib.Path:
    """Writes a valid file of a kind, the one to be changed."""
    if kind in ("index", "data"):
        prefix = tf.train.Checkpoint(
            model={key: v.value for key, v in tiny.variables.items()}
        ).save(str(folder / "ckpt"))
        return pathlib.Path(prefix + (_DATA if kind == "data" else ".index"))
    if kind == ARCHITECTURE:
        architecture = architecture_json(tiny.backbone)
        values = {"pixels": "raw", "architecture": architecture}
        (folder / BACKBONE).write_text(json.dumps(values, indent=2))
        return folder / BACKBONE
    path = folder / {"weights_h5": "a.weights.h5", "legacy_h5": "a.h5"}.get(
        kind, "a.keras"
    )
    model = tiny.backbone
    (model.save_weights if kind == "weights_h5" else model.save)(path)
    return path


READERS: dict[str, tuple[Callable[[str, Classifier], None], ...]] = {
    "weights_h5": (load,),
    "legacy_h5": (load,),
    "keras": (load,),
    "index": (load, restore),
    "data": (load, restore),
    ARCHITECTURE: (rebuild,),
}


def outcome_of(read: Callable[[], None]) -> str:
    """Returns how a read ended; one that never ends kills the process."""
    faulthandler.dump_traceback_later(_DEADLY_SECONDS - 5)
    signal.alarm(_DEADLY_SECONDS)
    start, outcome = time.monotonic(), "loaded"
    try:
        read()
    except TrainerError as error:
        outcome = "refused" if str(error).isprintable() else "not one line"
    except BaseException:
        traceback.print_exc()
        outcome = "raised"
    signal.alarm(0)
    faulthandler.cancel_dump_traceback_later()
    return "slow" if time.monotonic() - start > _SECONDS else outcome


def fuzz(kind: str, folder: pathlib.Path, seeds: range) -> bool:
    """Reads changed files, one a seed; returns whether all ended legally."""
    folder.mkdir(exist_ok=True)
    tiny = tiny_classifier()
    path = write(kind, folder, tiny)
    target = str(path).removesuffix(".index").removesuffix(_DATA)
    content = path.read_bytes()
    for read in READERS[kind]:
        read(target, tiny)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: collections.Counter[str] = collections.Counter()
    for seed in seeds:
        (folder.parent / "seed").write_text(f"{kind} {seed}")
        rng = np.random.default_rng(seed)
        # Few bytes of JSON can change and leave JSON. To build takes longer.
        builds = kind == ARCHITECTURE and seed % 4 == 0
        change = renumbered if builds else mutated
        path.write_bytes(change(content, rng))
        for read in READERS[kind]:
            outcome = outcome_of(functools.partial(read, target, tiny))
            outcomes[outcome] += 1
            if outcome not in ("loaded", "refused"):
                print(f"{kind} {seed}: {outcome}", flush=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(kind, dict(outcomes), f"{grown // 1024} MiB", flush=True)
    return outcomes.keys() <= {"loaded", "refused"} and grown <= _MIB * 1024


@pytest.mark.slow
def test_mutated_files_load_or_fail_in_one_line(tmp_path: pathlib.Path) -> None:
    module = "tests.model.weights.test_fuzz"
    done = subprocess.run(
        [sys.executable, "-m", module, ",".join(READERS), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    last = (tmp_path / "seed").read_text()
    assert done.returncode == 0, (
        f"exit {done.returncode}, last {last}: {done.stdout}"
        f" {done.stderr[-3000:]}"
    )
    for kind in READERS:
        assert f"{kind} {{" in done.stdout


if __name__ == "__main__":
    only = [int(seed) for seed in sys.argv[3:]]
    legal = [
        fuzz(
            kind,
            pathlib.Path(sys.argv[2]) / kind,
            range(*only) if only else range(MUTATIONS),
        )
        for kind in sys.argv[1].split(",")
    ]
    sys.exit(not all(legal))
