"""Tests of hiding the log of native code on standard error."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from trainer.native_logs import native_notes_hidden


def run(block: str, *, stderr: str = "") -> subprocess.CompletedProcess:
    """Runs a block between two lines of native output, in a new process."""
    script = f"""
        import io, os, sys
        from trainer.native_logs import native_notes_hidden
        {stderr}
        os.write(2, b"before\\n")
        {block}
        os.write(2, b"after\\n")
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_native_lines_are_hidden():
    done = run(
        "with native_notes_hidden(): os.write(2, b'note\\n'); print('out')"
    )
    assert done.stderr == "before\nafter\n"
    assert done.stdout == "out\n"
    assert done.returncode == 0


def test_python_lines_are_hidden_too():
    done = run("with native_notes_hidden(): print('note', file=sys.stderr)")
    assert done.stderr == "before\nafter\n"


def test_without_hide_lines_are_shown():
    done = run("with native_notes_hidden(False): os.write(2, b'note\\n')")
    assert done.stderr == "before\nnote\nafter\n"


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_hidden_lines_are_shown_if_the_block_raises(raised):
    done = run(
        f"""
        try:
            with native_notes_hidden():
                os.write(2, b"note\\n")
                raise {raised}
        except BaseException as error:
            os.write(2, type(error).__name__.encode() + b"\\n")
        """
    )
    name = raised.partition("(")[0]
    assert done.stderr == f"before\nnote\n{name}\nafter\n"


def test_hidden_lines_are_shown_without_a_usable_sys_stderr():
    """Standard error has no buffer in a notebook, and may be None elsewhere."""
    for stderr in ("sys.stderr = io.StringIO()", "sys.stderr = None"):
        done = run(
            """
        try:
            with native_notes_hidden():
                os.write(2, b"note\\n")
                raise ValueError
        except ValueError:
            pass
        """,
            stderr=stderr,
        )
        assert done.stderr == "before\nnote\nafter\n", stderr


@pytest.mark.parametrize("fails", [False, True])
def test_the_descriptor_is_restored_and_none_is_left_open(fails, capfd):
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    os.write(2, b"before\n")
    same, count = os.fstat(2), opened()
    for _ in range(3):
        try:
            with native_notes_hidden():
                assert os.fstat(2).st_ino != same.st_ino
                if fails:
                    raise ValueError
        except ValueError:
            pass
    assert os.fstat(2).st_ino == same.st_ino
    assert opened() == count
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


def test_the_log_level_is_set_unless_the_environment_has_one(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    with native_notes_hidden():
        pass
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with native_notes_hidden():
        pass
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
