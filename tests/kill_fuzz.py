"""Kills tiny runs with SIGKILL, and compares them with uninterrupted runs.

    python -m tests.kill_fuzz --kills=200 --seed=0

A run is started by the same command and killed, again and again, until it is
complete. Then every array of every checkpoint, every metric and every line must
be equal to those of an uninterrupted run, except for times. The instants are
random, and each phase gets about as many kills. A kill counts for the phase in
which the child died.
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
from tests.kill.folds import kill_folds
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

PARTS = ("random", "boundaries", "solved", "study", "folds")
# Each phase gets at least this share of the kills.
_SHARE = 10 / 200


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 1 if there are differences or too few kills."""
    asked = _parser().parse_args(arguments)
    root = pathlib.Path(tempfile.mkdtemp(prefix="kill_fuzz-"))
    print(f"working in {root}", flush=True)
    began = time.monotonic()
    bench = Bench(root)
    try:
        if asked.part == "random":
            wrong = _random_kills(
                bench, asked.kills, asked.seed, asked.variants
            )
        elif asked.part == "boundaries":
            # One checkpoint kept: there is none to fall back on.
            wrong = _boundary_kills(bench, ONE_KEPT, BOUNDARIES, asked.only)
        elif asked.part == "solved":
            wrong = _boundary_kills(
                bench, SOLVED, SOLVED_BOUNDARIES, asked.only
            )
        elif asked.part == "study":
            wrong = kill_a_study(bench)
        else:
            wrong = kill_folds(bench)
    except KillTestError as failure:
        wrong = [str(failure)]
    print(f"{time.monotonic() - began:.0f} s")
    for line in wrong:
        print(f"DIFFERENT {line}")
    if wrong:
        print(f"files are in {root}")
        return 1
    shutil.rmtree(root)
    print("no difference")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--variants",
        type=int,
        default=len(VARIANTS),
        help="kill runs of the first N sets of flags only",
    )
    parser.add_argument(
        "--part",
        choices=PARTS,
        default="random",
        help="random: at random instants; boundaries: at each boundary"
        " between two writes; solved: at those of a run whose head is solved;"
        " study: a study, at three boundaries; folds: a run in folds",
    )
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="part of a boundary's name"
    )
    return parser


def _random_kills(
    bench: Bench, kills: int, seed: int, variants: int
) -> list[str]:
    """Kills runs at random instants; returns the differences."""
    needed = max(1, int(kills * _SHARE))
    aim, wrong = Aim(kills, needed, seed), list[str]()
    runs = 0
    while not aim.done():
        run = Run(bench, f"run{runs}", runs % variants)
        runs += 1
        found = _kill_until_complete(run, aim)
        wrong += [f"{run.name}: {line}" for line in found]
        if not found:
            shutil.rmtree(run.workdir)
    print(f"\n{'phase':20}{'kills':>6}{'needed':>8}")
    for phase, count in aim.kills.items():
        print(f"{phase:20}{count:>6}{needed:>8}")
    print(
        f"{aim.total} kills, {aim.plain} of them at a uniformly random time;"
        f" {runs} complete runs"
    )
    return wrong + [f"{phase}: too few kills" for phase in aim.missed()]


def _kill_until_complete(run: Run, aim: Aim) -> list[str]:
    """Kills a run until it is complete; returns the differences."""
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
    """Kills one run at each boundary; returns the differences."""
    run = Run(bench, "boundaries", variant)
    for name, boundary in boundaries.items():
        if only not in name:
            continue
        if not check(run.start(boundary.arm).end(), run.log):
            return [f"{name}: the run was complete before the kill"]
        print(f"killed: {name}", flush=True)
    check(run.start().end(), run.log)
    return run.differences()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main(sys.argv[1:]))
