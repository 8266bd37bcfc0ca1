"""Tests of flags.py: flags become a configuration or a one-line error."""

import os
import pathlib
import random
import re
import subprocess
import sys

import pytest
from absl import flags as absl_flags

from tests.support.command import command
from tests.support.damage import mutated
from trainer.command import flags
from trainer.config import Config
from trainer.config.fields import FIELDS
from trainer.config.usage import ALIASES, help_text, start_text
from trainer.errors import UsageError


@pytest.fixture
def parsed():
    """Returns a function that parses arguments with new flag values."""

    def parse(*arguments):
        values = absl_flags.FlagValues()
        flags.define(values)
        flags.parse(["main.py", *arguments], values)
        return flags.config_from_flags(values)

    return parse


def refused(parsed, capsys, *arguments: str) -> str:
    """Returns the one error line for a rejected command line."""
    with pytest.raises(SystemExit) as exit_:
        parsed(*arguments)
    assert exit_.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.startswith("error: ")
    return text


def test_defaults_are_those_of_config(parsed):
    config, given = parsed("--stage=finetune", "--dataset=photos")
    assert config == Config(stage="finetune", dataset="photos")
    assert given == {"stage", "dataset"}


def test_each_field_has_one_flag():
    values = absl_flags.FlagValues()
    before = set(values)
    flags.define(values)
    texts = {"help", "h", "helpshort", "?", "helpfull", "version", "completion"}
    assert set(values) - before == set(FIELDS) | texts


def test_values_arrive_with_their_types(parsed):
    config, _ = parsed(
        "--stage=finetune",
        "--dataset=d",
        "--data_pct=0.5",
        "--augment=false",
        "--batch_size=8",
        "--image_size=96",
        "--clip_global_norm=1.5",
    )
    assert config.data_pct == 0.5
    assert config.augment == "off"
    assert config.batch_size == 8
    assert config.image_size == 96
    assert config.clip_global_norm == 1.5


def test_flagfile(parsed, tmp_path):
    path = tmp_path / "run.flags"
    path.write_text("--stage=feature_extract\n--dataset=my photos\n")
    config, given = parsed(f"--flagfile={path}", "--epochs=3")
    assert (config.stage, config.dataset) == ("feature_extract", "my photos")
    assert given == {"stage", "dataset", "epochs"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--zzz=1", "error: --zzz: no such flag; --help lists the flags"),
        ("--batch_siz=1", "no such flag; did you mean --batch_size?"),
        ("--bachsize=1", "no such flag; did you mean --batch_size?"),
        ("--batch-size=1", "no such flag; did you mean --batch_size?"),
        ("--noaugment", "no such flag; did you mean --augment=off?"),
        ("--lr=1", "--lr: no such flag; did you mean --learning_rate?"),
        ("--resume", "the same command with the same --workdir resumes"),
        ("--batch_size=ten", "--batch_size='ten': not a whole number"),
        ("--batch_size", "Missing value for flag --batch_size"),
        ("--data_pct=lots", "--data_pct='lots': not a number"),
        ("--fold_batch_norm=7", "--fold_batch_norm='7': not true or false"),
        ("photos", "'photos': not a flag; every option is written --name="),
        ("finetune", "'finetune': not a flag; did you mean --stage=finetune?"),
        ("--flagfile=/nope", "--flagfile='/nope': cannot be read"),
    ],
)
def test_a_bad_command_line_gets_one_line(parsed, capsys, argument, message):
    line = refused(parsed, capsys, "--stage=finetune", "--dataset=d", argument)
    assert message in line


@pytest.mark.parametrize("alias", [*ALIASES, "resume"])
def test_a_name_of_another_library_is_not_accepted(parsed, capsys, alias):
    line = refused(parsed, capsys, f"--{alias}=1")
    assert line.startswith(f"error: --{alias}: no such flag; ")


def test_no_arguments_print_how_to_begin(parsed, capsys):
    with pytest.raises(SystemExit) as exit_:
        parsed()
    assert exit_.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == start_text() + "\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dataset=d",),
        ("--dry_run",),
        ("--workdir=w", "--epochs=3"),
        ("--",),
    ],
)
def test_without_a_stage_nothing_starts(arguments):
    said = command(*arguments)
    assert said.status == 2
    assert said.out == ""
    assert said.err == (
        "error: --stage: not given; give one of feature_extract, finetune,"
        " study, check_data, probe, lr_find, search, soup, evaluate, predict,"
        " export, serve, report, embed, compare, list_runs, for example"
        " --stage=finetune to train\n"
    )


def test_a_flag_that_the_stage_does_not_read_is_rejected(parsed):
    with pytest.raises(UsageError, match="--unfreeze: not read by"):
        parsed("--dataset=d", "--stage=feature_extract", "--unfreeze=all")


@pytest.mark.parametrize("argument", ["--help", "-h", "--helpshort", "-?"])
def test_help_is_printed_with_any_other_flags(parsed, capsys, argument):
    with pytest.raises(SystemExit) as exit_:
        parsed("--stage=finetune", argument)
    assert exit_.value.code == 0
    assert capsys.readouterr().out == help_text() + "\n"


def test_absl_flags_are_shown_by_helpfull_only():
    """Runs new processes, because absl defines its flags once per process."""
    shown = {}
    for name in ("help", "helpfull"):
        done = subprocess.run(
            [sys.executable, "main.py", f"--{name}"],
            cwd=pathlib.Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        shown[name] = done.stdout
    assert shown["help"] == help_text() + "\n"
    assert shown["helpfull"].startswith(help_text())
    for name in ("flagfile", "pdb", "verbosity", "log_dir"):
        pattern = rf"--(\[no\])?{name}:"
        assert re.search(pattern, shown["helpfull"])
        assert not re.search(pattern, shown["help"])


@pytest.mark.parametrize(
    ("stage", "names"),
    [
        ("feature_extract", ("dataset", "init_from", "weights", "workdir")),
        ("predict", ("inputs", "output", "workdir")),
        ("evaluate", ("tfds_data_dir", "workdir")),
    ],
)
def test_home_is_expanded_in_every_path(parsed, monkeypatch, stage, names):
    monkeypatch.setenv("HOME", "/home/me")
    given = {"workdir": "w", "inputs": "i"} if stage == "predict" else {}
    given |= {name: f"~/{name}" for name in names}
    arguments = [f"--{name}={value}" for name, value in given.items()]
    config, _ = parsed(f"--stage={stage}", *arguments)
    for name in names:
        assert getattr(config, name) == f"/home/me/{name}"


FLAGFILES: dict[str, tuple[bytes | None, str]] = {
    "binary": (b"\x89HDF\r\n\x1a\n\xff", "cannot be read ("),
    "a NUL": (b"--epochs=3\0", "not text"),
    "a pipe": (None, "not a regular file"),
    "too large": (b"#" * (1 << 21), "too large"),
}


@pytest.mark.parametrize("case", FLAGFILES)
@pytest.mark.parametrize("nested", [False, True])
def test_a_flagfile_that_is_not_text_is_rejected(
    parsed, capsys, tmp_path, case, nested
):
    content, reason = FLAGFILES[case]
    path = tmp_path / "bad"
    os.mkfifo(path) if content is None else path.write_bytes(content)
    argument = f"--flagfile={path}"
    if nested:
        (tmp_path / "outer").write_text(f"--epochs=2\n{argument}\n")
        argument = f"--flagfile={tmp_path / 'outer'}"
    text = refused(parsed, capsys, argument)
    assert f"--flagfile='{path}': cannot be read" in text
    assert reason in text
    assert text.endswith("; give a text file with one flag per line\n")


def test_a_cycle_of_flagfiles_ends(parsed, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(f"--epochs=3\n--flagfile={two}\n")
    two.write_text(f"--seed=4\n--flagfile={one}\n")
    config, _ = parsed("--stage=finetune", "--dataset=d", f"--flagfile={one}")
    assert (config.epochs, config.seed) == (3, 4)


def test_200_mutated_flagfiles_are_read_or_rejected(parsed, capsys, tmp_path):
    whole = (
        b"--stage=finetune\n--dataset=photos\n--epochs=3\n# why\n"
        b"--unfreeze=regex:a.*\n"
    )
    path = tmp_path / "flags"
    for seed in range(200):
        path.write_bytes(mutated(whole, random.Random(seed)))
        try:
            parsed(f"--flagfile={path}")
        except (SystemExit, UsageError):
            said = capsys.readouterr().err
            assert said.count("\n") <= 1, seed
        except Exception as error:
            pytest.fail(f"mutation {seed}: {error!r}")


@pytest.mark.parametrize("name", ["workdir", "cache_dir", "dataset", "output"])
def test_an_unknown_home_folder_is_rejected(parsed, name):
    """No folder called "~" is created."""
    stage = "--stage=export" if name == "output" else "--stage=finetune"
    with pytest.raises(UsageError) as caught:
        parsed(stage, "--workdir=w", f"--{name}=~nobody0/x")
    assert str(caught.value) == (
        f"--{name}='~nobody0/x': no home folder is known for ~nobody0; give"
        " the whole path, or ./~nobody0/x for a file or folder of that name"
    )


def test_a_file_name_may_begin_with_a_tilde(parsed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~x").mkdir()
    config, _ = parsed("--stage=finetune", "--dataset=~x", "--workdir=./~y")
    assert (config.dataset, config.workdir) == ("~x", "./~y")


def test_without_a_home_folder_a_tilde_is_rejected(parsed, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UsageError, match="no home folder is known for ~;"):
        parsed("--stage=finetune", "--dataset=d", "--workdir=~/run")
