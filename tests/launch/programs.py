"""Stand-ins for ssh, srun, gcloud and python that record their arguments."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 30.0

# Each argument ends with NUL, so it may contain any other character.
_RECORD = """#!/usr/bin/env bash
call=$(mktemp "$CALLS/$(date +%s%N).XXXX")
printf '%s\\0' "${0##*/}" "$@" > "$call"
"""
_PROGRAMS = {
    # ssh passes one string to the shell of the host.
    "ssh": 'bash -c "${@: -1}"',
    "srun": 'while [[ $1 == -* ]]; do shift; done; "$@"',
    "scontrol": "",
    "setsid": 'exec "$@"',
    "git": 'for a in "$@"; do [[ $a != --output=* ]] || : > "${a#*=}"; done',
    # The first host has a home folder with an installed trainer.
    "gcloud": """
[[ $4 != describe ]] || exit "$NO_TPU"
for a in "$@"; do [[ $a != --command=* ]] || run=${a#*=}; done
[[ $4 != ssh || "$*" == *--worker=all* ]] || { cd "$TPU_HOME"; bash -c "$run"; }
""",
    "python": """
env -0 > "$call.env"
if [[ $1 == -c ]]; then echo /fake/libtpu.so; exit; fi
if [[ -n $WAITS ]]; then
  trap 'touch "$CALLS/../stopped"' TERM
  : > "$call.ready"
  until [[ -e $CALLS/../stopped ]]; do sleep 0.05; done
fi
exit "$LEAVES"
""",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a program.

    Attributes:
      program: the name of the program.
      arguments: its arguments.
      environment: its environment variables, recorded only for python.
    """

    program: str
    arguments: list[str]
    environment: dict[str, str]


class Programs:
    """Stand-ins on the PATH, and the calls that they have recorded."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Creates the stand-ins in a folder."""
        self._calls = folder / "calls"
        self._bin = folder / "bin"
        home = folder / "home"
        python = home / "trainer/.venv/bin"
        for path in (self._calls, self._bin, python):
            path.mkdir(parents=True)
        for name, body in _PROGRAMS.items():
            (self._bin / name).write_text(_RECORD + body)
            (self._bin / name).chmod(0o755)
        (python / "python").symlink_to(self._bin / "python")
        self._environment = {
            **os.environ,
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "CALLS": str(self._calls),
            "TPU_HOME": str(home),
            "NO_TPU": "0",
            "WAITS": "",
            "LEAVES": "0",
        }
        # The scripts read these variables, which may be set where the tests
        # run.
        for name in (
            "TF_CONFIG",
            "PYTHON",
            "ACCELERATOR_TYPE",
            "RUNTIME_VERSION",
        ):
            self._environment.pop(name, None)

    def start(
        self, script: str, *said: str, **environment: str
    ) -> subprocess.Popen[str]:
        """Starts a script in the root of the checkout."""
        return subprocess.Popen(
            ["bash", str(ROOT / script), *said],
            cwd=ROOT,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, script: str, *said: str, **environment: str
    ) -> tuple[int, str]:
        """Returns the exit status and the standard error of a script."""
        process = self.start(script, *said, **environment)
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, err

    def stop(self, process: subprocess.Popen[str], trained: int) -> int:
        """Sends SIGTERM to a script when its processes train.

        Args:
          process: the result of `start`.
          trained: number of training processes to wait for.

        Returns:
          The exit status of the script.
        """
        end = time.monotonic() + DEADLINE_SECONDS
        while len(list(self._calls.glob("*.ready"))) < trained:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode

    def calls(self, program: str) -> list[Call]:
        """Returns the calls of one program, in order."""
        found = []
        for path in sorted(self._calls.iterdir()):
            environment = path.with_name(f"{path.name}.env")
            name, *arguments = _split(path)
            if path.suffix not in (".env", ".ready") and name == program:
                pairs = (
                    line.partition("=")
                    for line in (
                        _split(environment) if environment.exists() else ()
                    )
                )
                found.append(
                    Call(
                        program=name,
                        arguments=arguments,
                        environment={key: value for key, _, value in pairs},
                    )
                )
        return found

    def training(self) -> list[Call]:
        """Returns the calls of `python main.py`."""
        return [
            call
            for call in self.calls("python")
            if call.arguments[:1] == ["main.py"] and call.environment
        ]


def _split(path: pathlib.Path) -> list[str]:
    # A file that is being written may still be empty.
    return path.read_text().split("\0")[:-1] or [""]
