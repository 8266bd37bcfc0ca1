"""Flags to configuration, and the parser's one-line errors."""

import os
import random

import pytest
from absl import flags as absl_flags

import flags
from tests.end_to_end.test_workdir_trust import mutated
from trainer.config import Config
from trainer.config.fields import FIELDS
from trainer.errors import UsageError


@pytest.fixture
def parsed():
    """Parses arguments with flags of their own."""

    def parse(*arguments):
        values = absl_flags.FlagValues()
        flags.define(values)
        flags.parse(["main.py", *arguments], values)
        return flags.config_from_flags(values)

    return parse


def test_defaults_are_those_of_config(parsed):
    config, given = parsed("--dataset=photos")
    assert config == Config(dataset="photos")
    assert given == {"dataset"}


def test_every_field_has_a_flag_and_no_flag_is_without_a_field():
    values = absl_flags.FlagValues()
    before = set(values)
    flags.define(values)
    assert set(values) - before == set(FIELDS)


def test_values_arrive_with_their_types(parsed):
    config, _ = parsed(
        "--dataset=d",
        "--data_pct=0.5",
        "--noaugment",
        "--batch_size=8",
        "--image_size=96",
        "--clip_global_norm=1.5",
    )
    assert config.data_pct == 0.5
    assert config.augment is False
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
        ("--batch_size=ten", "--batch_size='ten': not a whole number"),
        ("--data_pct=lots", "--data_pct='lots': not a number"),
        ("--augment=7", "--augment='7': not true or false"),
        ("finetune", "'finetune': not a flag; every option is written"),
        ("--flagfile=/nope", "--flagfile='/nope': cannot be read"),
    ],
)
def test_a_bad_command_line_gets_one_line_and_status_2(
    parsed, capsys, argument, message
):
    with pytest.raises(SystemExit) as exit_:
        parsed("--dataset=d", argument)
    assert exit_.value.code == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1


def test_a_flag_that_the_stage_does_not_read_is_refused(parsed):
    with pytest.raises(UsageError, match="--unfreeze: not read by"):
        parsed("--dataset=d", "--stage=feature_extract", "--unfreeze=all")


def test_help_shows_every_flag():
    values = absl_flags.FlagValues()
    flags.define(values)
    text = values.main_module_help()
    for name in FIELDS:
        assert f"--{name}:" in text or f"--[no]{name}:" in text


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


def refused(parsed, capsys, *arguments: str) -> str:
    """The one line for a command line that is refused."""
    with pytest.raises(SystemExit) as exit_:
        parsed(*arguments)
    assert exit_.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and text.startswith("error: ")
    return text


FLAGFILES: dict[str, tuple[bytes | None, str]] = {
    "binary": (b"\x89HDF\r\n\x1a\n\xff", "cannot be read ("),
    "a NUL": (b"--epochs=3\0", "no text"),
    "a pipe": (None, "not a regular file"),
    "too large": (b"#" * (1 << 21), "too large"),
}


@pytest.mark.parametrize("case", FLAGFILES)
@pytest.mark.parametrize("nested", [False, True])
def test_a_flagfile_that_is_no_text(parsed, capsys, tmp_path, case, nested):
    content, reason = FLAGFILES[case]
    path = tmp_path / "bad"
    os.mkfifo(path) if content is None else path.write_bytes(content)
    argument = f"--flagfile={path}"
    if nested:
        (tmp_path / "outer").write_text(f"--epochs=2\n{argument}\n")
        argument = f"--flagfile={tmp_path / 'outer'}"
    text = refused(parsed, capsys, argument)
    assert f"--flagfile='{path}': cannot be read" in text and reason in text
    assert text.endswith("; give a text file with one flag per line\n")


def test_flagfiles_in_a_circle_end(parsed, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(f"--epochs=3\n--flagfile={two}\n")
    two.write_text(f"--seed=4\n--flagfile={one}\n")
    config, _ = parsed("--dataset=d", f"--flagfile={one}")
    assert (config.epochs, config.seed) == (3, 4)


def test_500_mutated_flagfiles_are_read_or_refused(parsed, capsys, tmp_path):
    whole = b"--dataset=photos\n--epochs=3\n# why\n--unfreeze=regex:a.*\n"
    path = tmp_path / "flags"
    for seed in range(500):
        path.write_bytes(mutated(whole, random.Random(seed)))
        try:
            parsed(f"--flagfile={path}")
        except (SystemExit, UsageError):
            said = capsys.readouterr().err
            assert said.count("\n") <= 1, seed
        except Exception as error:
            pytest.fail(f"mutation {seed}: {error!r}")


@pytest.mark.parametrize("name", ["workdir", "cache_dir", "dataset", "output"])
def test_a_home_that_is_not_known_is_refused(parsed, name):
    """No folder is made that is called ~."""
    stage = "--stage=export" if name == "output" else "--stage=finetune"
    with pytest.raises(UsageError) as caught:
        parsed(stage, "--workdir=w", f"--{name}=~nobody0/x")
    assert str(caught.value) == (
        f"--{name}='~nobody0/x': no home folder is known for ~nobody0; give"
        " the whole path, or ./~nobody0/x for something of that name here"
    )


def test_a_file_whose_name_begins_with_a_tilde(parsed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~x").mkdir()
    config, _ = parsed("--dataset=~x", "--workdir=./~y")
    assert (config.dataset, config.workdir) == ("~x", "./~y")


def test_without_a_home_a_tilde_is_refused(parsed, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UsageError, match="no home folder is known for ~;"):
        parsed("--dataset=d", "--workdir=~/run")
