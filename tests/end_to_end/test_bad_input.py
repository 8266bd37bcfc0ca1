"""Bad input gets one line: what is wrong, what is legal, what to do."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import keras
import pytest
from PIL import Image

from tests.support import tfds_images
from tests.support.command import arguments, command
from tests.support.photos import make_photos
from tests.support.runs import assert_same_arrays, weights
from tests.support.tiny import tiny_backbone, use_tiny_backbone
from trainer.data import connectivity

# Defining the data sets is what makes TFDS know them.
assert tfds_images

pytestmark = pytest.mark.slow

USAGE, FAILURE = 2, 1
BASE: Mapping[str, Any] = {
    "stage": "feature_extract",
    "dataset": "{root}/photos",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 4,
    "epochs": 1,
}
FINETUNE = {"stage": "finetune"}
TWO_REPLICAS = {"strategy": "mirrored", "logical_cpus": 2}
PHOTOS = "give a folder of photos (train/CLASS/*.jpg or CLASS/*.jpg)"
READABLE = "JPEG, PNG, BMP, GIF and WebP can be read"
MEND = "fix or remove it, or --on_bad_image=skip trains on the rest"
RULES = "last:N (N >= 1), all, none, from:LAYER, regex:PATTERN"
PERCENT = "must be a number above 0 and up to 100"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Flags, `None` to leave one of the base out, and what is answered."""

    name: str
    flags: Mapping[str, Any]
    status: int
    words: tuple[str, ...]


def evaluating(workdir: str | None, **flags: Any) -> dict[str, Any]:
    """Flags of an evaluation, which takes none of the base."""
    nothing = dict.fromkeys(BASE)
    return {**nothing, "stage": "evaluate", "workdir": workdir, **flags}


FAST_PATHS = (
    Case(
        name="trunk engine",
        flags={"trunk_engine": "lite"},
        status=USAGE,
        words=("--trunk_engine='lite'", "auto, step, graph, litert"),
    ),
    *(
        Case(
            name=f"{engine} engine under XLA",
            flags={"trunk_engine": engine, "xla": "on"},
            status=USAGE,
            words=(
                f"--trunk_engine={engine}: not possible here",
                "XLA compiles the whole step (--xla=off)",
                "give auto or step",
            ),
        )
        for engine in ("graph", "litert")
    ),
    Case(
        name="engine in bfloat16",
        flags={"trunk_engine": "graph", "precision": "bfloat16"},
        status=USAGE,
        words=(
            "--trunk_engine=graph: not possible here",
            "it needs --precision=float32, not bfloat16",
            "give auto or step",
        ),
    ),
    Case(
        name="feature dtype",
        flags={"feature_dtype": "float64"},
        status=USAGE,
        words=("--feature_dtype='float64'", "float32, float16"),
    ),
    Case(
        name="feature dtype where the step does all",
        flags={"feature_dtype": "float16", "trunk_engine": "step"},
        status=USAGE,
        words=("--feature_dtype=float16: no features", "--trunk_engine=graph"),
    ),
    Case(
        name="quick gradients",
        flags={"quick_gradients": "yes"},
        status=USAGE,
        words=("--quick_gradients='yes'", "auto, on, off"),
    ),
    Case(
        name="quick gradients under XLA",
        flags={"quick_gradients": "on", "xla": "on"},
        status=USAGE,
        words=("--quick_gradients=on: they are for float32 on CPUs", "off"),
    ),
    Case(
        name="a warp that XLA cannot compile",
        flags={"augment_kernel": "projective", "xla": "on"},
        status=USAGE,
        words=(
            "--augment_kernel=projective: XLA cannot compile it",
            "give gather, or --xla=off",
        ),
    ),
    Case(
        name="augment kernel",
        flags={"augment_kernel": "nearest"},
        status=USAGE,
        words=("--augment_kernel='nearest'", "auto, projective, gather"),
    ),
    Case(
        name="trunk block",
        flags={"trunk_block": -1},
        status=USAGE,
        words=("--trunk_block=-1", "must be a whole number >= 0"),
    ),
    Case(
        name="cache",
        flags={"cache": "tape"},
        status=USAGE,
        words=("--cache='tape'", "auto, ram, disk, off"),
    ),
    Case(
        name="cache in memory",
        flags={"cache_ram_mib": -5},
        status=USAGE,
        words=("--cache_ram_mib=-5", "must be a whole number of MiB >= 0"),
    ),
    Case(
        name="cache on disk",
        flags={"cache_disk_mib": -1},
        status=USAGE,
        words=("--cache_disk_mib=-1", "must be a whole number of MiB >= 0"),
    ),
    Case(
        name="augment kernel of an evaluation",
        flags=evaluating("{root}/run", augment_kernel="gather"),
        status=USAGE,
        words=("--augment_kernel",),
    ),
)
CASES = (
    *FAST_PATHS,
    Case(
        name="stage",
        flags={"stage": "finetun"},
        status=USAGE,
        words=(
            "--stage='finetun'",
            "feature_extract, finetune, study, evaluate, predict, export",
            "did you mean finetune?",
        ),
    ),
    Case(
        name="backbone",
        flags={"backbone": "MobileNetV9"},
        status=USAGE,
        words=(
            "--backbone='MobileNetV9': no such backbone",
            "did you mean MobileNetV2",
            "legal: ConvNeXtBase, ",
        ),
    ),
    Case(
        name="backbone argument",
        flags={"backbone_args": "beta=2"},
        status=USAGE,
        words=("--backbone_args=beta=2", "no argument", "legal", "alpha"),
    ),
    Case(
        name="no dataset",
        flags={"dataset": ""},
        status=USAGE,
        words=("--dataset=''", "no data named", "give a folder", "food10"),
    ),
    Case(
        name="dataset is no TFDS name",
        flags={"dataset": "tf_flower"},
        status=USAGE,
        words=(
            "--dataset='tf_flower'",
            "neither a folder nor a TFDS name",
            "did you mean tf_flowers",
            "give a folder of photos, demo, food10 or a name",
        ),
    ),
    Case(
        name="dataset folder missing",
        flags={"dataset": "{root}/nowhere"},
        status=USAGE,
        words=("--dataset='{root}/nowhere': no such folder", PHOTOS),
    ),
    Case(
        name="dataset is a file",
        flags={"dataset": "{root}/file"},
        status=USAGE,
        words=("--dataset='{root}/file': a file", PHOTOS),
    ),
    Case(
        name="dataset folder empty",
        flags={"dataset": "{root}/empty"},
        status=FAILURE,
        words=("--dataset='{root}/empty'", "no class folders", PHOTOS),
    ),
    Case(
        name="one class only",
        flags={"dataset": "{root}/one"},
        status=FAILURE,
        words=(
            "--dataset='{root}/one'",
            "one class only, 'pie'",
            "add a class folder with images to train/ and test/",
        ),
    ),
    Case(
        name="class without image",
        flags={"dataset": "{root}/bare"},
        status=FAILURE,
        words=(
            "--dataset='{root}/bare'",
            "class 'sushi' in train/ has no image (.jpg, .jpeg,",
            "add some, or remove the class from train/ and test/ alike",
        ),
    ),
    Case(
        name="class without readable image",
        flags={"dataset": "{root}/unreadable", "on_bad_image": "skip"},
        status=FAILURE,
        words=(
            "class 'sushi': no readable image in the train split",
            "{root}/unreadable/train/sushi/000.jpg: an empty file",
            "replace the unreadable images, or remove every folder of the",
        ),
    ),
    Case(
        name="class sets differ",
        flags={"dataset": "{root}/differ"},
        status=FAILURE,
        words=(
            "--dataset='{root}/differ'",
            "test/ lacks 'sushi' and has besides 'suhsi'",
            "give train/ and test/ the same class folders",
        ),
    ),
    *(
        Case(
            name=f"image {name}",
            flags={"dataset": f"{{root}}/{name}"},
            status=FAILURE,
            words=(f"{{root}}/{name}/test/sushi/001.jpg: {reason}", MEND),
        )
        for name, reason in (
            ("corrupt", "a broken, truncated or unsupported JPEG"),
            ("truncated", "a broken, truncated or unsupported JPEG"),
            ("zero", "an empty file"),
            ("html", f"looks like HTML; {READABLE}"),
            ("tiff", f"looks like TIFF; {READABLE}"),
        )
    ),
    *(
        Case(
            name=f"data_pct {value}",
            flags={"data_pct": value},
            status=USAGE,
            words=(f"--data_pct={value}: {PERCENT}", "default is 100"),
        )
        for value in ("0", "101", "-1", "nan")
    ),
    Case(
        name="data_pct is no number",
        flags={"data_pct": "ten"},
        status=USAGE,
        words=("--data_pct='ten': not a number", "--help"),
    ),
    Case(
        name="weights missing",
        flags={"weights": "{root}/nowhere.h5"},
        status=USAGE,
        words=("--weights='{root}/nowhere.h5': no such file", "give imagenet"),
    ),
    Case(
        name="not weights",
        flags={"weights": "{root}/file"},
        status=FAILURE,
        words=("--weights='{root}/file': holds no weights", ".weights.h5"),
    ),
    Case(
        name="weights of another architecture",
        flags={"weights": "{root}/other.weights.h5"},
        status=FAILURE,
        words=(
            "--weights='{root}/other.weights.h5'",
            "another architecture",
            "no 'conv1'",
            "give weights of this --backbone",
        ),
    ),
    # Channels 8 and, with alpha=0.5, 4.
    Case(
        name="weights of wrong shapes",
        flags={"weights": "{root}/half.weights.h5"},
        status=FAILURE,
        words=(
            "--weights='{root}/half.weights.h5': wrong shapes",
            "layer 'conv1' (kernel) is (3, 3, 3, 4) in the file and"
            " (3, 3, 3, 8) in the model",
            "give the --backbone_args it was saved with",
        ),
    ),
    Case(
        name="image_size",
        flags={"image_size": 31},
        status=USAGE,
        words=("--image_size=31: too small", "at least 32 px", "give"),
    ),
    Case(
        name="batch_size 0",
        flags={"batch_size": 0},
        status=USAGE,
        words=(
            "--batch_size=0: must be a whole number from 1",
            "default is 32",
        ),
    ),
    Case(
        name="batch_size and replicas",
        flags={"batch_size": 7, **TWO_REPLICAS},
        status=USAGE,
        words=(
            "--batch_size=7: not divisible by the 2 replicas",
            "give a multiple of 2, or --strategy=one_device",
        ),
    ),
    Case(
        name="batch_size, replicas and parts",
        flags={"batch_size": 6, "accumulate_steps": 2, **TWO_REPLICAS},
        status=USAGE,
        words=(
            "--batch_size=6: not divisible by the 2 replicas that share it in 2"
            " parts each (--accumulate_steps)",
            "give a multiple of 4",
        ),
    ),
    Case(
        name="parts that do not divide",
        flags={"batch_size": 8, "accumulate_steps": 3},
        status=USAGE,
        words=(
            "--accumulate_steps=3: does not divide --batch_size=8",
            "give a divisor of it",
        ),
    ),
    Case(
        name="steps_per_loop",
        flags={"steps_per_loop": -1},
        status=USAGE,
        words=("--steps_per_loop=-1", "must be a whole number >= 0"),
    ),
    *(
        Case(
            name=f"gpus {value!r}",
            flags={"gpus": value},
            status=USAGE,
            words=(f"--gpus={value!r}: must be numbers from 0", "such as 0,1"),
        )
        for value in ("one", "0;1", "-1", "")
    ),
    Case(
        name="a GPU twice",
        flags={"gpus": "0,0"},
        status=USAGE,
        words=("--gpus='0,0': names GPU 0 twice", "give each once"),
    ),
    Case(
        name="no such GPU",
        flags={"gpus": "99"},
        status=USAGE,
        words=("--gpus=99: ", " GPU "),
    ),
    Case(
        name="no TPU",
        flags={"strategy": "tpu"},
        status=USAGE,
        words=("--strategy=tpu: TensorFlow", "no TPU", "--strategy=auto"),
    ),
    Case(
        name="TPU and strategy",
        flags={"tpu": "local", "strategy": "mirrored"},
        status=USAGE,
        words=("--tpu='local': not possible with --strategy=mirrored",),
    ),
    Case(
        name="TPU without its compiler",
        flags={"strategy": "tpu", "xla": "off"},
        status=USAGE,
        words=("--xla=off: not possible with --strategy=tpu", "give auto"),
    ),
    Case(
        name="unfreeze matches nothing",
        flags={**FINETUNE, "unfreeze": "regex:conv"},
        status=USAGE,
        words=(
            "--unfreeze='regex:conv': matches none of the 10 layer names",
            "try regex:.*conv.*",
        ),
    ),
    Case(
        name="unfreeze from no layer",
        flags={**FINETUNE, "unfreeze": "from:conv9"},
        status=USAGE,
        words=(
            "--unfreeze='from:conv9'",
            "no layer 'conv9' (did you mean 'conv",
            "--dry_run lists the layers",
        ),
    ),
    Case(
        name="unfreeze too many",
        flags={**FINETUNE, "unfreeze": "last:11"},
        status=USAGE,
        words=(
            "--unfreeze='last:11': the backbone has 10 layers",
            "give last:1 to last:10, or all",
        ),
    ),
    Case(
        name="unfreeze nothing to train",
        flags={**FINETUNE, "unfreeze": "last:1"},
        status=USAGE,
        words=(
            "--unfreeze='last:1': none of its 1 layers (relu3)",
            "choose more, or none to train the head only",
        ),
    ),
    Case(
        name="unfreeze last:0",
        flags={**FINETUNE, "unfreeze": "last:0"},
        status=USAGE,
        words=("--unfreeze='last:0'", "N >= 1", "give for example last:10"),
    ),
    Case(
        name="unfreeze cannot be parsed",
        flags={**FINETUNE, "unfreeze": "top"},
        status=USAGE,
        words=("--unfreeze='top': cannot be parsed", RULES),
    ),
    Case(
        name="unfreeze no regular expression",
        flags={**FINETUNE, "unfreeze": "regex:("},
        status=USAGE,
        words=("--unfreeze='regex:(': not a regular expression", RULES),
    ),
    Case(
        name="workdir below a file",
        flags={"workdir": "{root}/file/below"},
        status=FAILURE,
        words=(
            "--workdir='{root}/file/below': cannot be written to",
            "Not a directory",
            "give a folder that can",
        ),
    ),
    Case(
        name="workdir is a file",
        flags={"workdir": "{root}/file"},
        status=FAILURE,
        words=("--workdir='{root}/file': cannot be written to", "File exists"),
    ),
    Case(
        name="workdir in /proc",
        flags={"workdir": "/proc/nope"},
        status=FAILURE,
        words=(
            "--workdir='/proc/nope': cannot be written to",
            "give a folder that can",
        ),
    ),
    Case(
        name="workdir empty",
        flags={"workdir": ""},
        status=USAGE,
        words=("--workdir=''", "give a folder, or leave the flag out"),
    ),
    Case(
        name="init_from missing",
        flags={"init_from": "{root}/nowhere"},
        status=USAGE,
        words=(
            "--init_from='{root}/nowhere': no such folder",
            "give the workdir of an earlier run",
        ),
    ),
    Case(
        name="init_from without checkpoint",
        flags={"init_from": "{root}/empty"},
        status=FAILURE,
        words=(
            "--init_from='{root}/empty': holds no checkpoint",
            "give the workdir of a run that has saved one",
        ),
    ),
    Case(
        name="evaluate without checkpoint",
        flags=evaluating("{root}/empty"),
        status=FAILURE,
        words=("--workdir='{root}/empty': holds no checkpoint", "train there"),
    ),
    Case(
        name="evaluate nowhere",
        flags=evaluating("{root}/nowhere"),
        status=USAGE,
        words=("--workdir='{root}/nowhere': no such folder", "earlier run"),
    ),
    Case(
        name="evaluate without workdir",
        flags=evaluating(None),
        status=USAGE,
        words=("--workdir", "--stage=evaluate needs", "give --workdir=FOLDER"),
    ),
    Case(
        name="evaluate with a flag of training",
        flags=evaluating("{root}/empty", epochs=3),
        status=USAGE,
        words=(
            "--epochs: not read by --stage=evaluate",
            "only by feature_extract, finetune",
            "leave it out",
        ),
    ),
    Case(
        name="flag",
        flags={"epoch": 3},
        status=USAGE,
        words=("--epoch: no such flag", "did you mean --epochs?"),
    ),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where everything is that the cases name."""
    folder = tmp_path_factory.mktemp("bad")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_backbone(monkeypatch)
        _make_folders(folder)
        _make_weights(folder)
        yield folder


def _make_folders(folder: pathlib.Path) -> None:
    (folder / "file").write_text("hello")
    (folder / "empty").mkdir()
    make_photos(folder / "one", train=4, test=3, classes=("pie",))
    good = folder / "photos"
    make_photos(good, train=4, test=3)
    for name in ("bare", "unreadable", "differ"):
        shutil.copytree(good, folder / name)
    for path in (folder / "bare/train/sushi").iterdir():
        path.unlink()
    for path in (folder / "unreadable/train/sushi").iterdir():
        path.write_bytes(b"")
    differ = folder / "differ/test"
    (differ / "sushi").rename(differ / "suhsi")
    for name in ("corrupt", "truncated", "zero", "html", "tiff"):
        shutil.copytree(good, folder / name)
        _spoil(folder / name / "test/sushi/001.jpg", name)


def _spoil(path: pathlib.Path, how: str) -> None:
    content = path.read_bytes()
    half = len(content) // 2
    if how == "tiff":
        Image.open(path).save(path, "TIFF")
        return
    path.write_bytes(
        {
            "corrupt": content[:20] + bytes(len(content) - 20),
            "truncated": content[:half],
            "zero": b"",
            "html": b"<!DOCTYPE html><title>404</title>",
        }[how]
    )


def _make_weights(folder: pathlib.Path) -> None:
    keras.utils.clear_session()
    tiny_backbone(alpha=0.5).save_weights(folder / "half.weights.h5")
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    other.save_weights(folder / "other.weights.h5")


def _arguments(root: pathlib.Path, values: Mapping[str, Any]) -> list[str]:
    return arguments(
        {
            name: str(value).format(root=root)
            for name, value in values.items()
            if value is not None
        }
    )


def assert_one_line(text: str, words: tuple[str, ...]) -> None:
    assert text.startswith("error: ")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    for word in words:
        assert word in text


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_one_line_before_training_begins(root, tmp_path, capfd, case):
    values = {**BASE, "workdir": tmp_path / "run", **case.flags}
    said = command(*_arguments(root, values))
    assert_one_line(said.err, tuple(w.format(root=root) for w in case.words))
    assert said.status == case.status
    assert capfd.readouterr().err == ""
    assert not (tmp_path / "run/checkpoints").exists()
    assert not (tmp_path / "run/config.json").exists()


def test_a_workdir_that_was_refused_is_still_free(root, tmp_path):
    """The rule is wrong for this backbone only, which is built by then."""
    values = {**BASE, **FINETUNE, "head_epochs": 1, "workdir": tmp_path}
    wrong = values | {"unfreeze": "last:11"}
    assert command(*_arguments(root, wrong)).status == USAGE
    assert command(*_arguments(root, values)).status == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["stage"] == "finetune"


def test_bad_images_are_skipped_and_named(root, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(root / "photos", photos)
    spoilt = {
        "train/sushi/000.jpg": "corrupt",
        "train/sushi/001.jpg": "truncated",
        "train/apple pie/002.jpg": "zero",
        "test/apple pie/000.jpg": "html",
        "test/sushi/002.jpg": "tiff",
    }
    for name, how in spoilt.items():
        _spoil(photos / name, how)
    workdir = tmp_path / "run"
    values = {
        **BASE,
        "dataset": photos,
        "on_bad_image": "skip",
        "workdir": workdir,
    }
    said = command(*_arguments(root, values))
    assert (said.status, said.err) == (0, "")
    manifest = json.loads((workdir / "manifest.json").read_text())
    skipped = {bad["path"] for bad in manifest["skipped"]}
    assert skipped == {str(photos / name) for name in spoilt}
    for name in spoilt:
        assert f"warning: left out {photos / name}: " in said.out
    result = json.loads((workdir / "result.json").read_text())
    assert (result["train_examples"], result["test_examples"]) == (9, 7)


@pytest.fixture(scope="module")
def finished(root):
    """A workdir whose run is complete, to be copied and damaged."""
    workdir = root / "finished"
    values = {**BASE, "epochs": 2, "workdir": workdir}
    said = command(*_arguments(root, values))
    assert said.status == 0, said.err
    return workdir


LAST = "checkpoints/feature_extract/last"
DATA = f"{LAST}/ckpt-6.data-00000-of-00001"


def _cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _flip(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("again", ["evaluate", "train"])
@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("config.json", _cut, "/config.json: cannot be read"),
        (
            "backbone.json",
            pathlib.Path.unlink,
            "/backbone.json: missing; restore it",
        ),
    ],
    ids=["config", "backbone"],
)
def test_a_damaged_workdir(
    root, finished, tmp_path, capfd, name, damage, words, again
):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    damage(workdir / name)
    flags = {"epochs": 3, "workdir": workdir}
    values = {**BASE, **flags} if again == "train" else evaluating(str(workdir))
    said = command(*_arguments(root, values))
    assert_one_line(said.err, (str(workdir), words, "another --workdir"))
    assert said.status == FAILURE
    assert capfd.readouterr().err == ""


DAMAGES = {
    "data-cut": (DATA, _cut),
    "data-empty": (DATA, lambda path: path.write_bytes(b"")),
    "data-flipped": (DATA, _flip),
    "data-gone": (DATA, pathlib.Path.unlink),
    "index-cut": (f"{LAST}/ckpt-6.index", _cut),
}


def test_evaluate_takes_the_one_before_what_a_kill_cut_short(
    root, finished, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    name, spoil = DAMAGES["index-cut"]
    spoil(workdir / name)
    said = command(*_arguments(root, evaluating(str(workdir))))
    assert said.status == 0, said.err
    assert "feature_extract at step 3 (last)" in said.out


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d != "index-cut"])
def test_evaluate_names_a_damaged_checkpoint(root, finished, tmp_path, damage):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    name, spoil = DAMAGES[damage]
    spoil(workdir / name)
    said = command(*_arguments(root, evaluating(str(workdir))))
    path = f"{workdir}/{LAST}/ckpt-6"
    assert_one_line(
        said.err,
        (
            f"{path}: cannot be restored",
            f"remove {path}.* to use the checkpoint before it",
        ),
    )
    assert said.status == FAILURE


@pytest.fixture(scope="module")
def longer(root, finished):
    """What one more epoch comes to where nothing is damaged."""
    workdir = root / "longer"
    shutil.copytree(finished, workdir)
    values = {**BASE, "epochs": 3, "workdir": workdir}
    said = command(*_arguments(root, values))
    assert said.status == 0, said.err
    assert "resume feature_extract from step 6\n" in said.out
    return weights(workdir, "feature_extract")


@pytest.mark.parametrize("damage", [*DAMAGES, "list", "removed"])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    root, finished, longer, tmp_path, damage
):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    if damage == "list":
        (workdir / LAST / "checkpoint").write_bytes(b"\xff")
    elif damage == "removed":
        for path in (workdir / LAST).glob("ckpt-6.*"):
            path.unlink()
    else:
        name, spoil = DAMAGES[damage]
        spoil(workdir / name)
    values = {**BASE, "epochs": 3, "workdir": workdir}
    said = command(*_arguments(root, values))
    assert (said.status, said.err) == (0, "")
    passed = f"warning: {workdir}/{LAST}/ckpt-6: cannot be read"
    assert (passed in said.out) is (damage in DAMAGES)
    assert_same_arrays(weights(workdir, "feature_extract"), longer)


def test_where_all_checkpoints_are_damaged_there_is_one_line(
    root, finished, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    for path in (workdir / LAST).glob("*.data-*"):
        path.write_bytes(b"")
    values = {**BASE, "epochs": 3, "workdir": workdir}
    said = command(*_arguments(root, values))
    assert_one_line(
        said.err, (f"{workdir}/{LAST}: none of its 2 checkpoints can be read",)
    )
    assert said.status == FAILURE


def test_evaluate_warns_of_photos_that_changed(root, tmp_path):
    photos = make_photos(tmp_path / "photos", train=4, test=3)
    workdir = tmp_path / "run"
    values = {**BASE, "dataset": photos, "workdir": workdir}
    assert command(*_arguments(root, values)).status == 0
    warning = f"warning: {photos}: not the photos that the run was made with"
    flags = {"stage": "evaluate", "workdir": workdir}
    said = command(*_arguments(root, flags))
    assert (said.status, warning in said.out) == (0, False)
    (tmp_path / "photos/test/sushi/000.jpg").unlink()
    said = command(*_arguments(root, flags))
    assert (said.status, warning in said.out) == (0, True)


def test_evaluate_on_data_of_other_classes(root, finished, tmp_path):
    other = make_photos(tmp_path, train=2, test=2, classes=("a", "b"))
    flags = evaluating(str(finished), dataset=other)
    said = command(*_arguments(root, flags))
    assert_one_line(
        said.err,
        (
            f"--dataset={other!r}: its classes are ['a', 'b'], the run's are"
            " ['apple pie', 'sushi', 'борщ']",
            "give data of the same classes",
        ),
    )
    assert said.status == FAILURE


@pytest.mark.parametrize(
    ("dataset", "name", "host"),
    [
        ("trainer_unreachable", "trainer_unreachable", "photos.invalid"),
        ("food10", "food101", "data.vision.ee.ethz.ch"),
    ],
)
def test_a_download_that_cannot_be_had(
    root, tmp_path, monkeypatch, dataset, name, host
):
    if dataset == "food10":
        # A machine with a network would start on five gigabytes.
        monkeypatch.setattr(connectivity, "_answers", lambda url: False)
    values = {
        **BASE,
        "dataset": dataset,
        "tfds_data_dir": tmp_path / "tfds",
        "workdir": tmp_path / "run",
    }
    start = time.monotonic()
    said = command(*_arguments(root, values))
    assert time.monotonic() - start < 15
    assert_one_line(
        said.err,
        (
            f"--dataset={dataset!r}: not prepared under {tmp_path}/tfds/{name}",
            f"{host} cannot be reached",
            f"tfds build {name}",
            "--tfds_data_dir",
        ),
    )
    assert said.status == FAILURE


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        # What libraries write themselves can only be seen in a process.
        (
            {"dataset": "{root}/truncated"},
            FAILURE,
            ("/truncated/test/sushi/001.jpg: a broken, truncated", MEND),
        ),
        (
            {"batch_size": 7, **TWO_REPLICAS},
            USAGE,
            ("--batch_size=7: not divisible by the 2 replicas",),
        ),
        ({"stage": "finetun"}, USAGE, ("--stage='finetun'",)),
    ],
    ids=["image", "replicas", "stage"],
)
def test_the_process_writes_one_line_too(root, tmp_path, flags, status, words):
    values = {**BASE, "workdir": tmp_path / "run", **flags}
    plain = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    ended = subprocess.run(
        [sys.executable, "main.py", *_arguments(root, values)],
        capture_output=True,
        text=True,
        env=plain,
        timeout=120,
    )
    assert_one_line(ended.stderr, words)
    assert ended.returncode == status
