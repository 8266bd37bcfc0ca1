"""Tests of standard streams that are closed, full, or a closed terminal."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.support.photos import make_photos

MAIN = str(pathlib.Path(__file__).parents[1] / "main.py")
ROOT = os.path.dirname(MAIN)


# These programs prepare their process, and then replace themselves by the
# command in their arguments. `preexec_fn` could deadlock in the child, because
# the tests' process has the threads of TensorFlow.
_BOUNDED_FILES = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
os.execv(sys.argv[1], sys.argv[1:])
"""
_OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
# The tests themselves may run under nohup, which programs inherit.
_SIGNAL = "import signal; signal.signal(signal.SIGHUP, signal.{})\n"


def python(program: str, shell: str = "", **options: object) -> int:
    """Runs a program in a shell, which may close its streams.

    Returns:
      The exit status.
    """
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {shell}', "bash", sys.executable, "-c",
         textwrap.dedent(program)],
        cwd=ROOT,
        timeout=300,
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


@pytest.mark.slow
def test_the_command_runs_with_closed_streams() -> None:
    closed = "<&- >&- 2>&-"
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {closed}', "bash", sys.executable, MAIN,
         "--stage=evaluate", "--workdir=/no/such/run"],
        cwd=ROOT,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2


def test_a_full_standard_output_is_a_one_line_error(
    tmp_path: pathlib.Path,
) -> None:
    """A limit on the size of the file acts like a full disk."""
    with open(tmp_path / "out", "w") as out:
        done = subprocess.run(
            [sys.executable, "-c", _BOUNDED_FILES, sys.executable, MAIN,
             "--help"],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )  # fmt: skip
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
        timeout=300,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True], ids=["", "nohup"])
def test_a_closed_terminal_makes_the_run_save(
    tmp_path: pathlib.Path, ignored: bool
) -> None:
    """SIGHUP stops the run; writing to the closed terminal is no error."""
    photos = make_photos(tmp_path / "photos", train=4, test=3)
    workdir = tmp_path / "run"
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c",
         _SIGNAL.format("SIG_IGN" if ignored else "SIG_DFL") + _OWN_TERMINAL,
         sys.executable, MAIN, "--stage=feature_extract",
         f"--dataset={photos}", f"--workdir={workdir}",
         "--backbone=MobileNetV2", "--weights=none", "--image_size=32",
         "--epochs=2000" if not ignored else "--epochs=2",
         "--batch_size=4"],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        _read_until_saved(ours, workdir, process)
        os.close(ours)
        status = process.wait(300)
    finally:
        # Do not leave a run behind if the test fails.
        process.kill()
        process.wait()
    if ignored:
        assert status == 0
        assert (workdir / "result.json").exists()
    else:
        assert status == 128 + signal.SIGHUP
        assert '"event": "stop", ' in (workdir / "events.jsonl").read_text()


def _read_until_saved(
    terminal: int, workdir: pathlib.Path, process: subprocess.Popen[bytes]
) -> None:
    """Reads a run's terminal until the run has saved a checkpoint."""
    os.set_blocking(terminal, False)
    shown = b""
    end = time.monotonic() + 300
    while not list(workdir.glob("checkpoints/*/last/*.index")):
        assert process.poll() is None, shown
        assert time.monotonic() < end, shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(terminal, 1 << 16)
        time.sleep(0.05)
