"""Kills tiny runs with SIGKILL and compares what they end with.

    python -m tests.kill_fuzz --kills=200 --seed=0

A run is killed again and again, each time started by the same command, until
it comes to its end; then every array of every checkpoint, every figure and
every line must be that of a run that nobody killed, times aside. The instants
are random, the phases take turns. The child names the phase that it is in;
what counts is the one that it died in.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from tests.kill.boundaries import (
    BOUNDARIES,
    SOLVED_BOUNDARIES,
    Boundary,
)
from tests.kill.runs import (
    ONE_KEPT,
    SOLVED,
    VARIANTS,
    Aim,
    Bench,
    KillTestError,
    Run,
    check,
)
from tests.kill.study import kill_a_study

PARTS = ("random", "boundaries", "solved", "study")
# Every phase takes at least so many of 200 kills.
_SHARE = 10 / 200


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 1 for a difference, or a phase too few."""
    asked = _parser().parse_args(arguments)
    root = pathlib.Path(tempfile.mkdtemp(prefix="kill_fuzz-"))
    print(f"working in {root}", flush=True)
    began = time.monotonic()
    bench = Bench(root)
    try:
        if asked.part == "random":
            wrong = _random_kills(bench, asked.kills, asked.seed)
        elif asked.part == "boundaries":
            # One checkpoint kept: there is none to fall back on.
            wrong = _boundary_kills(bench, ONE_KEPT, BOUNDARIES, asked.only)
        elif asked.part == "solved":
            wrong = _boundary_kills(
                bench, SOLVED, SOLVED_BOUNDARIES, asked.only
            )
        else:
            wrong = kill_a_study(bench)
    except KillTestError as failure:
        wrong = [str(failure)]
    print(f"{time.monotonic() - began:.0f} s")
    for line in wrong:
        print(f"DIFFERENT {line}")
    if wrong:
        print(f"kept for a look: {root}")
        return 1
    shutil.rmtree(root)
    print("no difference")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--part",
        choices=PARTS,
        default="random",
        help="random instants; the boundaries between two writes, one after"
        " the other; those of a run whose head is solved; or a study",
    )
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="boundaries named so"
    )
    return parser


def _random_kills(bench: Bench, kills: int, seed: int) -> list[str]:
    """Kills at random instants until there are enough, in every phase."""
    needed = max(1, int(kills * _SHARE))
    aim, wrong = Aim(kills, needed, seed), list[str]()
    runs = 0
    while not aim.done():
        run = Run(bench, f"run{runs}", runs % len(VARIANTS))
        runs += 1
        found = _kill_until_complete(run, aim)
        wrong += [f"{run.name}: {line}" for line in found]
        if not found:
            shutil.rmtree(run.workdir)
    print(f"\n{'phase':20}{'kills':>6}{'needed':>8}")
    for phase, count in aim.kills.items():
        print(f"{phase:20}{count:>6}{needed:>8}")
    print(
        f"{aim.total} kills, {aim.plain} of them at a plain random time;"
        f" {runs} complete runs"
    )
    return wrong + [f"{phase}: too few kills" for phase in aim.missed()]


def _kill_until_complete(run: Run, aim: Aim) -> list[str]:
    """The differences from a run that was left alone."""
    kills = 0
    while True:
        ended = run.start().end() if aim.done() else aim.shoot(run)
        if not check(ended, run.log):
            break
        kills += 1
        print(f"kill {aim.total}: {run.name}, {ended.phase}", flush=True)
    found = run.differences()
    print(
        f"{run.name}: complete after {kills} kills, {len(found)} differences",
        flush=True,
    )
    return found


def _boundary_kills(
    bench: Bench, variant: int, boundaries: Mapping[str, Boundary], only: str
) -> list[str]:
    """Kills one run at each boundary in turn."""
    run = Run(bench, "boundaries", variant)
    for name, boundary in boundaries.items():
        if only not in name:
            continue
        if not check(run.start(boundary.arm).end(), run.log):
            return [f"{name}: the run never came to it"]
        print(f"killed: {name}", flush=True)
    check(run.start().end(), run.log)
    return run.differences()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main(sys.argv[1:]))
