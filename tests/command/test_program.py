"""The installed command is the program of main.py."""

from __future__ import annotations

import configparser
import pathlib
import re
import sys
from importlib import metadata

import pytest

from tests.support.command import command
from trainer.command import program
from trainer.config.usage import command_name

ROOT = pathlib.Path(__file__).parents[2]


def test_the_installed_command_runs_the_program():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"]
    name, _, target = scripts.strip().partition(" = ")
    module, _, attribute = target.partition(":")
    assert name == "transfer-trainer"
    assert getattr(sys.modules[module], attribute) is program.program


@pytest.mark.parametrize(
    ("started_as", "name"),
    [
        ("main.py", "python main.py"),
        ("/opt/bin/transfer-trainer", "transfer-trainer"),
        ("Scripts/transfer-trainer.exe", "transfer-trainer"),
        ("pytest", "python main.py"),
    ],
)
def test_commands_to_copy_are_those_of_the_user(monkeypatch, started_as, name):
    monkeypatch.setattr(sys, "argv", [started_as])
    assert command_name() == name


def test_the_version_names_the_libraries():
    said = command("--version")
    assert (said.status, said.err) == (0, "")
    tensorflow = re.escape(metadata.version("tensorflow"))
    pattern = rf"transfer-trainer \S+ \(tensorflow {tensorflow}, keras .*\)\n"
    assert re.fullmatch(pattern, said.out)
