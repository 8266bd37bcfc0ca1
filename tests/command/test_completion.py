"""The completion script in bash."""

from __future__ import annotations

import subprocess

import pytest

from trainer.command.completion import bash_completion
from trainer.config.fields import STAGES


def completed(*words: str) -> list[str]:
    """Returns what bash suggests after these words, split as bash does."""
    script = f"""{bash_completion()}
compopt() {{ :; }}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_transfer_trainer
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", script, "bash", "transfer-trainer", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--stage", "="], list(STAGES), id="all values"),
        pytest.param(["--stage", "=", "fi"], ["finetune"], id="a value"),
        pytest.param(["--recipe=quick", "--resi"], ["--resize="], id="a flag"),
        pytest.param(["--dry"], ["--dry_run"], id="a switch"),
        pytest.param(["--nodry"], ["--nodry_run"], id="a switch off"),
        pytest.param(["--stage", "=", "x"], [], id="no such value"),
    ],
)
def test_bash_completes_flags_and_values(
    words: list[str], expected: list[str]
) -> None:
    assert completed(*words) == expected


def test_other_values_are_files(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "phones.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert sorted(completed("--dataset", "=", "ph")) == ["phones.csv", "photos"]
