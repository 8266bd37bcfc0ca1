"""Flags to configuration, and the parser's one-line errors."""

import pytest
from absl import flags as absl_flags

import flags
from trainer.config import Config
from trainer.errors import UsageError
from trainer.fields import FIELDS


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
