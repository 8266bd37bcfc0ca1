"""Everything that the trainer does, with data and workdir behind URLs.

TensorFlow's in-memory file system stands for a bucket: nothing but
`tf.io.gfile` and TensorFlow's own operations can reach it.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import hashlib
import json
import os
import pathlib
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import trainer
from tests.support.command import Said, arguments, command
from tests.support.photos import make_photos
from tests.support.runs import assert_same_arrays, stopped_after
from tests.support.tiny import tiny_backbone, use_tiny_backbone
from trainer.model.backbones import find_backbone
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import plan_weights, weights_digest
from trainer.workdir import lock
from trainer.workdir.heartbeat import HeartbeatTiming

pytestmark = pytest.mark.slow

_PACKAGE = os.path.dirname(trainer.__file__) + os.sep
# Of the trainer's own files those that may touch files by themselves, and what
# they may touch; every other call is an error.
_MAY = {
    "storage/files.py": "local paths, copies among them",
    "storage/remote.py": "the local copies of remote files",
    "cache/disk.py": "the local cache",
    "cache/files.py": "the local cache",
    "cache/rows.py": "the local cache",
    "cache/segments.py": "the local cache",
    "distribute/devices.py": "/proc/cpuinfo",
    "run/fast_paths.py": "/proc/meminfo",
    "workdir/holder.py": "/proc",
    "native_logs.py": "standard error",
}
_CALLS = {
    builtins: ("open",),
    os: (
        "access",
        "listdir",
        "lstat",
        "makedirs",
        "mkdir",
        "open",
        "remove",
        "rename",
        "replace",
        "rmdir",
        "scandir",
        "stat",
        "truncate",
        "unlink",
        "utime",
    ),
}


HEAD = "feature_extract"


def _guarded(module: Any, name: str, bad: list[str]) -> Callable[..., Any]:
    real = getattr(module, name)

    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_code.co_filename
        said = f"{name}{args[:2]!r} by {caller}"
        if any("ram:/" in str(arg) for arg in args) and not _is_measure():
            bad.append(said)
        own = caller.removeprefix(_PACKAGE)
        if own != caller and own not in _MAY:
            bad.append(said)
        return real(*args, **kwargs)

    return call


def _is_measure() -> bool:
    """Whether TensorFlow is adding up a checkpoint's bytes, for a counter.

    It does so with the operating system's listing, and finds 0 behind a URL.
    """
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "_get_checkpoint_size":
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def only_gfile() -> Iterator[None]:
    """A block in which no URL reaches the operating system.

    And in which no file of the trainer's calls it, but those of `_MAY`.
    """
    bad: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for module, names in _CALLS.items():
            for name in names:
                patch.setattr(module, name, _guarded(module, name, bad))
        yield
    assert bad == []


def test_the_guard_sees_what_it_is_to_see():
    with pytest.raises(AssertionError, match="stat"), only_gfile():
        os.path.exists("ram://x")
    code = compile("os.listdir('/')", f"{_PACKAGE}workdir.py", "exec")
    with pytest.raises(AssertionError, match="listdir"), only_gfile():
        exec(code, {"os": os})
    with only_gfile():
        os.path.exists("/")


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        fast = functools.partial(HeartbeatTiming, beat_secs=0.2, poll_secs=0.01)
        patch.setattr(lock, "HeartbeatTiming", fast)
        yield


def _put(source: pathlib.Path, target: str) -> None:
    tf.io.gfile.makedirs(target)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            _put(path, f"{target}/{path.name}")
        else:
            tf.io.gfile.copy(str(path), f"{target}/{path.name}")


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, str]:
    """The same photos and weights in a local folder and behind a URL."""
    local = tmp_path_factory.mktemp("local")
    make_photos(local / "photos", train=6, test=4)
    tiny_backbone().save_weights(local / "tiny.weights.h5")
    remote = f"ram://{uuid.uuid4().hex}"
    _put(local, remote)
    return {"remote": remote, "local": str(local)}


def _run(root: str, cache: str, stage: str, **flags: Any) -> Said:
    return command(
        *arguments(
            {
                "stage": stage,
                "dataset": f"{root}/photos",
                "workdir": f"{root}/run",
                "backbone": "MobileNetV2",
                "weights": f"{root}/tiny.weights.h5",
                "image_size": 32,
                "batch_size": 4,
                "epochs": 2,
                **({"head_epochs": 2} if stage != HEAD else {}),
                "log_every_steps": 1,
                "checkpoint_every_steps": 2,
                "cache_dir": cache,
                **flags,
            }
        )
    )


def _use(stage: str, root: str, **flags: Any) -> Said:
    said = command(
        *arguments({"stage": stage, "workdir": f"{root}/run", **flags})
    )
    assert said.status == 0, said.err
    return said


@pytest.fixture(scope="module")
def finished(roots, tmp_path_factory) -> dict[str, str]:
    """The roots, with a whole run in each; the remote one was interrupted."""
    for place, root in roots.items():
        cache = str(tmp_path_factory.mktemp("cache"))
        said = None
        for saves in (3, 4) if place == "remote" else ():
            with stopped_after(saves), only_gfile():
                _run(root, cache, stage="finetune")
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            said = _run(root, cache, stage="finetune")
        assert said.status == 0, said.err
        if place == "remote":
            assert "weights: resume finetune from step" in said.out
    return roots


def _read(path: str) -> str:
    with tf.io.gfile.GFile(path, "rb") as stream:
        return stream.read().decode()


def _json(path: str, *without: str) -> Any:
    values = json.loads(_read(path))
    return {k: v for k, v in values.items() if k not in without}


def _lines(path: str) -> list[dict[str, Any]]:
    found = [json.loads(text) for text in _read(path).splitlines()]
    for line in found:
        line.pop("times", None)
        line.pop("time", None)
    return found


def _arrays(root: str, workdir: str, stage: str, kind: str) -> dict[str, Any]:
    folder = f"{root}/{workdir}/checkpoints/{stage}/{kind}"
    path = tf.train.latest_checkpoint(folder)
    reader = tf.compat.v1.train.NewCheckpointReader(path)
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith(("model/", "slots/"))
    }


def _both(finished: dict[str, str], look: Callable[[str], Any]) -> None:
    assert look(finished["remote"]) == look(finished["local"])


@pytest.mark.parametrize("stage", ["feature_extract", "finetune"])
@pytest.mark.parametrize("kind", ["last", "best"])
def test_weights_and_slots_are_those_of_a_local_run(finished, stage, kind):
    one, two = (_arrays(root, "run", stage, kind) for root in finished.values())
    assert any(name.startswith("slots/") for name in one)
    assert_same_arrays(one, two)


def test_so_are_the_figures(finished):
    _both(finished, lambda root: _lines(f"{root}/run/metrics.jsonl"))
    assert len(_lines(f"{finished['remote']}/run/metrics.jsonl")) > 20

    def look(root: str, name: str) -> Any:
        # How many bytes of figures there are hangs on the times in them.
        times = ("train_seconds", "metrics_position")
        result = _json(f"{root}/run/{name}", *times)
        for earlier in result.get("earlier_stages", []):
            del earlier["train_seconds"]
        return result

    for name in ("result.json", f"checkpoints/{HEAD}/result.json"):
        _both(finished, functools.partial(look, name=name))


def test_so_is_what_is_known_of_the_photos(finished):
    def look(root: str) -> Any:
        manifest = _json(f"{root}/run/manifest.json", "location")
        for split in manifest["splits"].values():
            del split["mtimes_ns"], split["ctimes_ns"]
        return manifest

    _both(finished, look)


def test_the_workdir_holds_what_a_local_one_does(finished):
    def look(root: str) -> list[str]:
        found = []
        for folder, _, names in tf.io.gfile.walk(f"{root}/run"):
            below = folder.removeprefix(f"{root}/run")
            if "/tensorboard" in below:
                # A file a process and split, named by the clock.
                names = ["events"] if names else []
            found += [f"{below}/{name}" for name in names]
        return sorted(found)

    found = look(finished["remote"])
    assert found == look(finished["local"])
    assert "/tensorboard/validation/events" in found
    assert not [n for n in found if "partial" in n or "lock" in n]


def test_the_events_tell_of_the_interruptions(finished):
    remote = f"{finished['remote']}/run/events.jsonl"
    events = [line["event"] for line in _lines(remote)]
    assert events.count("stop") == events.count("resume") == 2
    assert events[-1] == "complete"


def test_the_same_command_again_says_that_it_is_complete(finished, tmp_path):
    with only_gfile():
        said = _run(finished["remote"], str(tmp_path), stage="finetune")
    assert said.status == 0, said.err
    assert "this run is complete" in said.out


def test_evaluation(finished):
    for place, root in finished.items():
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            # A URL is not taken from a workdir.
            _use("evaluate", root, dataset=f"{root}/photos")
    _both(
        finished, lambda root: _json(f"{root}/run/evaluation.json", "dataset")
    )


@pytest.mark.parametrize(
    "inputs", ["photos/test", "photos/test/*/00[12].jpg", "photos/**/001.jpg"]
)
def test_predictions(finished, inputs):
    def look(root: str) -> list[str]:
        rows = _read(f"{root}/said.csv").replace(f"{root}/", "").splitlines()
        assert len(rows) > 5
        return rows

    for place, root in finished.items():
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            _use(
                "predict",
                root,
                inputs=f"{root}/{inputs}",
                output=f"{root}/said.csv",
            )
    _both(finished, look)


def test_export_and_export_once_more(finished, tmp_path):
    root = finished["remote"]
    for _ in range(2):
        with only_gfile():
            said = _use("export", root)
        assert said.out.endswith(f"export: {root}/run/export\n")
    names = tf.io.gfile.listdir(f"{root}/run/export")
    assert sorted(names) == ["export.json", "model.keras", "saved_model"]
    loaded = tf.saved_model.load(f"{root}/run/export/saved_model")
    photo = tf.io.read_file(f"{root}/photos/test/sushi/001.jpg")
    answer = loaded.signatures["serving_bytes"](photo[None])
    total = answer["probabilities"].numpy().sum()
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    with pytest.raises(AssertionError, match="holds other things"):
        _use("export", root, output=f"{root}/photos")


def test_a_warm_start(finished, tmp_path):
    for place, root in finished.items():
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            said = _run(
                root,
                str(tmp_path / place),
                "finetune",
                workdir=f"{root}/warm",
                init_from=f"{root}/run",
                epochs=1,
            )
        assert said.status == 0, said.err
        assert f"warm start from finetune of {root}/run" in said.out
    one, two = (
        _arrays(root, "warm", "finetune", "last") for root in finished.values()
    )
    assert_same_arrays(one, two)


def test_weights_from_a_checkpoint(finished, tmp_path):
    root = finished["remote"]
    with only_gfile():
        said = _run(
            root,
            str(tmp_path),
            HEAD,
            workdir=f"{root}/again",
            weights=f"{root}/run/checkpoints/finetune/last",
            epochs=1,
        )
    assert said.status == 0, said.err
    source = _arrays(root, "run", "finetune", "last")
    found = _arrays(root, "again", HEAD, "last")
    backbone = {k: v for k, v in found.items() if "conv" in k or "bn" in k}
    assert len(backbone) == 3 * (1 + 4)
    assert_same_arrays(backbone, {k: source[k] for k in backbone})


@pytest.mark.parametrize("name", ["x.keras", "x.h5", "x.weights.h5"])
def test_weights_files_of_every_kind(tmp_path, name):
    model, other = tiny_backbone(), tiny_backbone()
    if name.endswith(".weights.h5"):
        model.save_weights(tmp_path / name)
    else:
        model.save(tmp_path / name)
    root = f"ram://{uuid.uuid4().hex}"
    _put(tmp_path, root)
    backbone = find_backbone("MobileNetV2")
    with only_gfile():
        plan = plan_weights(
            f"{root}/{name}", backbone=backbone, weights_origin=None
        )
        load_weights(other, plan, backbone=backbone, backbone_args={})
        digest = weights_digest(plan)
    assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    for one, two in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_study(roots, tmp_path):
    for place, root in roots.items():
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            said = _run(
                root,
                str(tmp_path / place),
                stage="study",
                workdir=f"{root}/study",
                models="0,2",
                head_epochs=1,
            )
        assert said.status == 0, said.err

    def look(root: str) -> Any:
        record = _json(f"{root}/study/study.json", "weights")
        for row in record["models"]:
            del row["times"]
        return record

    _both(roots, look)
    page = _read(f"{roots['remote']}/study/report.html")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>")


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        ({"cache_dir": "ram://x/cache"}, 2, "--cache_dir='ram://x/cache': a"),
        ({"dataset": "{root}/none"}, 2, "--dataset='{root}/none': no such"),
        (
            {"dataset": "{root}/tiny.weights.h5"},
            2,
            "--dataset='{root}/tiny.weights.h5': a file",
        ),
        ({"weights": "{root}/none"}, 2, "--weights='{root}/none': no such"),
        (
            {"weights": "{root}/photos"},
            1,
            "--weights='{root}/photos': holds no weights",
        ),
        ({"init_from": "{root}/none"}, 2, "--init_from='{root}/none': no such"),
        ({"workdir": "ftp://h/run"}, 2, "ftp://h/run: this TensorFlow has no"),
        ({"dataset": "ftp://h/x"}, 2, "ftp://h/x: this TensorFlow has no"),
        (
            {"workdir": "{root}/tiny.weights.h5"},
            1,
            "--workdir='{root}/tiny.weights.h5': cannot be written to",
        ),
    ],
)
def test_what_is_wrong_takes_one_line(roots, tmp_path, flags, status, words):
    root = roots["remote"]
    filled = {k: v.format(root=root) for k, v in flags.items()}
    flags = {"workdir": f"{root}/other", "stage": "finetune", **filled}
    with only_gfile():
        said = _run(root, str(tmp_path), **flags)
    assert said.status == status
    assert said.err.startswith(f"error: {words.format(root=root)}"), said.err
    assert said.err.count("\n") == 1
    assert not tf.io.gfile.exists(f"{root}/other")


def test_a_photo_that_cannot_be_read_is_named(roots, tmp_path):
    root = f"{roots['remote']}-bad"
    _put(pathlib.Path(roots["local"], "photos"), f"{root}/photos")
    path = f"{root}/photos/train/sushi/001.jpg"
    tf.io.gfile.remove(path)
    with tf.io.gfile.GFile(path, "w") as stream:
        stream.write("<html>")
    shared = {"weights": "none", "stage": "feature_extract"}
    with only_gfile():
        said = _run(root, str(tmp_path), **shared)
    assert said.status == 1
    assert said.err.startswith(f"error: {path}: looks like HTML")
    # Where no times are kept a photo that was fixed is read again.
    tf.io.gfile.remove(path)
    other = pathlib.Path(roots["local"], "photos/train/sushi/002.jpg")
    shutil.copy(other, tmp_path / "001.jpg")
    tf.io.gfile.copy(str(tmp_path / "001.jpg"), path)
    said = _run(root, str(tmp_path), **shared)
    assert said.status == 0, said.err
