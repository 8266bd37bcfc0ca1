"""Tests of standard streams that are closed, full, or a closed terminal."""

from __future__ import annotations

import fcntl
import os
import pathlib
import resource
import signal
import subprocess
import sys
import termios
import textwrap
import time

import pytest

from tests.support.photos import make_photos

MAIN = str(pathlib.Path(__file__).parents[1] / "main.py")
ROOT = os.path.dirname(MAIN)


def python(program: str, shell: str = "", **options: object) -> int:
    """Runs a program in a shell, which may close its streams.

    Returns:
      The exit status.
    """
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {shell}', "bash", sys.executable, "-c",
         textwrap.dedent(program)],
        cwd=ROOT,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )  # fmt: skip
    return done.returncode


@pytest.mark.parametrize(
    "closed", ["", "<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"]
)
def test_closed_streams_become_the_null_device(
    tmp_path: pathlib.Path, closed: str
) -> None:
    """Otherwise the next opened file would get the stream's descriptor."""
    path = tmp_path / "checkpoint"
    program = f"""
        import os, sys
        from trainer import streams
        streams.open_missing()
        streams.guard()
        with open({str(path)!r}, "w") as file:
            assert file.fileno() > 2, file.fileno()
            print("to standard output", flush=True)
            print("to standard error", file=sys.stderr, flush=True)
            os.write(1, b"by a library")
            os.write(2, b"by a library")
            file.write("whole")
        assert sys.stdin.read() == ""
        assert streams.finish() is None
        """
    status = python(program, closed, stdin=subprocess.DEVNULL)
    assert status == 0
    assert path.read_text() == "whole"


@pytest.mark.parametrize(
    "closed",
    [
        # Each imports TensorFlow, which is slow.
        *(
            pytest.param(c, marks=pytest.mark.slow)
            for c in ("<&-", ">&-", "2>&-")
        ),
        "<&- >&- 2>&-",
    ],
)
def test_the_command_runs_with_closed_streams(closed: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {closed}', "bash", sys.executable, MAIN,
         "--stage=evaluate", "--workdir=/no/such/run"],
        cwd=ROOT,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2


def _file_may_not_grow() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def test_a_full_standard_output_is_a_one_line_error(
    tmp_path: pathlib.Path,
) -> None:
    """A limit on the size of the file acts like a full disk."""
    with open(tmp_path / "out", "w") as out:
        done = subprocess.run(
            [sys.executable, MAIN, "--help"],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_file_may_not_grow,
            timeout=120,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "error: standard output: cannot be written to (File too large); free"
        " some space, or redirect it elsewhere\n"
    )
    assert (tmp_path / "out").stat().st_size == 1000


def test_a_closed_pipe_ends_the_program_quietly() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {MAIN} --help | true"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True], ids=["", "nohup"])
def test_a_closed_terminal_makes_the_run_save(
    tmp_path: pathlib.Path, ignored: bool
) -> None:
    """SIGHUP stops the run; writing to the closed terminal is no error."""
    photos = make_photos(tmp_path / "photos", train=4, test=3)
    workdir = tmp_path / "run"

    def begin() -> None:
        _own_terminal()
        if ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, MAIN, "--stage=feature_extract",
         f"--dataset={photos}", f"--workdir={workdir}",
         "--backbone=MobileNetV2", "--weights=none", "--image_size=32",
         "--epochs=2000" if not ignored else "--epochs=2",
         "--batch_size=4"],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=begin,
    )  # fmt: skip
    os.close(theirs)
    end = time.monotonic() + 120
    while time.monotonic() < end and not list(
        workdir.glob("checkpoints/*/last/*.index")
    ):
        os.set_blocking(ours, False)
        try:
            os.read(ours, 1 << 16)
        except BlockingIOError:
            time.sleep(0.05)
    os.close(ours)
    status = process.wait(120)
    saved = list(workdir.glob("checkpoints/*/last/*.index"))
    assert saved
    if ignored:
        assert status == 0
        assert (workdir / "result.json").exists()
    else:
        assert status == 128 + signal.SIGHUP
        assert '"event": "stop", ' in (workdir / "events.jsonl").read_text()
