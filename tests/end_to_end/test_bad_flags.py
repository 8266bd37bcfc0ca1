"""A bad flag gets one line: what is wrong, what is legal, what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support import tfds_images
from tests.support.bad_flag_cases.case import (
    BASE,
    FAILURE,
    FINETUNE,
    FIX,
    USAGE,
    assert_one_line,
    filled,
)
from tests.support.bad_flag_cases.data import DATA
from tests.support.bad_flag_cases.fast_paths import FAST_PATHS
from tests.support.bad_flag_cases.folders import make_folders, make_weights
from tests.support.bad_flag_cases.labels import LABELS
from tests.support.bad_flag_cases.looking import LOOKING
from tests.support.bad_flag_cases.regularization import REGULARIZATION
from tests.support.bad_flag_cases.training import TRAINING
from tests.support.bad_flag_cases.unfreeze import UNFREEZE
from tests.support.command import command
from tests.support.tiny import use_tiny_backbone

# TFDS knows the data sets as soon as their classes are defined.
assert tfds_images

CASES = (
    *FAST_PATHS,
    *DATA,
    *TRAINING,
    *REGULARIZATION,
    *UNFREEZE,
    *LOOKING,
    *LABELS,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder of everything that the cases name."""
    folder = tmp_path_factory.mktemp("bad")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_backbone(monkeypatch)
        make_folders(folder)
        make_weights(folder)
        yield folder


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bad_flag_is_one_line_before_training(root, tmp_path, capfd, case):
    values = {**BASE, "workdir": tmp_path / "run", **case.flags}
    said = command(*filled(root, values))
    assert_one_line(said.err, tuple(w.format(root=root) for w in case.words))
    assert said.status == case.status
    assert capfd.readouterr().err == ""
    assert not (tmp_path / "run/checkpoints").exists()
    assert not (tmp_path / "run/config.json").exists()


@pytest.mark.slow
def test_a_workdir_refused_once_can_be_used(root, tmp_path):
    """The rule is wrong for this backbone only, which is built by then."""
    values = {**BASE, **FINETUNE, "head_epochs": 1, "workdir": tmp_path}
    wrong = values | {"unfreeze": "last:11"}
    assert command(*filled(root, wrong)).status == USAGE
    assert command(*filled(root, values)).status == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["stage"] == "finetune"


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        # The output of libraries is visible in a process only.
        pytest.param(
            {"dataset": "{root}/truncated"},
            FAILURE,
            ("/truncated/test/sushi/001.jpg: a broken, truncated", FIX),
            marks=pytest.mark.slow,
        ),
        ({"stage": "finetun"}, USAGE, ("--stage='finetun'",)),
    ],
    ids=["image", "stage"],
)
def test_a_process_prints_one_line_for_bad_input(
    root, tmp_path, flags, status, words
):
    values = {**BASE, "workdir": tmp_path / "run", **flags}
    plain = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    ended = subprocess.run(
        [sys.executable, "main.py", *filled(root, values)],
        capture_output=True,
        text=True,
        env=plain,
        timeout=120,
    )
    assert_one_line(ended.stderr, words)
    assert ended.returncode == status
