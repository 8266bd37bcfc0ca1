"""A tiny run that is started again and again until it is complete."""

from __future__ import annotations

import json
import pathlib
import random
from collections.abc import Callable, Mapping
from typing import Any

from tests.kill.attempt import Attempt, Ended
from tests.kill.command import BETWEEN, HEAD, PHASES, run_command
from tests.kill.ending import differences, ending
from tests.support.command import arguments
from tests.support.photos import make_photos

# Small, and yet: several epochs, augmented, a last batch that is padded,
# checkpoints within epochs, frozen layers, rates that move every weight.
_VALUES = {
    "stage": "finetune",
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 4,
    "epochs": 2,
    "head_epochs": 2,
    "learning_rate": 0.01,
    "head_learning_rate": 0.1,
    "unfreeze": "last:5",
    "validation_fraction": 0.5,
    "log_every_steps": 3,
    "checkpoint_every_steps": 2,
}
# Several of the latest are kept; or one, epoch boundaries, and the best, which
# finetune starts from; or the head is solved.
ONE_KEPT, SOLVED = 1, 2
VARIANTS: tuple[Mapping[str, Any], ...] = (
    {"keep_checkpoints": 2},
    {
        "keep_checkpoints": 1,
        "on_nonfinite": "rollback",
        "init_from_checkpoint": "best",
    },
    {
        "keep_checkpoints": 1,
        "head_solver": "lbfgs",
        "head_epochs": None,
        "head_learning_rate": None,
    },
)


class KillTestError(Exception):
    """An attempt ended neither well nor by SIGKILL."""


class Bench:
    """The folder with the images, and what uninterrupted runs end with."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        # 21 images in batches of 4: six steps an epoch.
        self.photos = make_photos(root / "photos", train=7)
        self._references: dict[int, tuple[Ended, dict[str, str]]] = {}

    def values(self, workdir: pathlib.Path, variant: int) -> dict[str, Any]:
        """The flags of a run."""
        values = {"dataset": self.photos, "workdir": workdir, **_VALUES}
        values |= VARIANTS[variant]
        return {k: value for k, value in values.items() if value is not None}

    def reference(self, variant: int) -> tuple[Ended, dict[str, str]]:
        """How an uninterrupted run went, and what it ended with."""
        if variant not in self._references:
            run = Run(self, f"reference{variant}", variant)
            ended = run.start().end()
            check(ended, run.log)
            self._references[variant] = ended, in_child(run.workdir, ending)
        return self._references[variant]


class Run:
    """One workdir, and the attempts made in it."""

    def __init__(self, bench: Bench, name: str, variant: int) -> None:
        self._bench, self._variant = bench, variant
        self.name, self.kills = name, 0
        self.workdir, self.log = bench.root / name, bench.root / f"{name}.log"

    def start(self, arm: Callable[[], None] | None = None) -> Attempt:
        """Starts it, for the first time or again, by the same command."""
        asked = arguments(self._bench.values(self.workdir, self._variant))
        return Attempt(lambda name: run_command(asked, name, arm), self.log)

    def has_begun_finetune(self) -> bool:
        """Whether what comes before will not come again."""
        return any(self.workdir.glob("checkpoints/finetune/last/*.index"))

    def course(self) -> Ended:
        """How an uninterrupted run went."""
        return self._bench.reference(self._variant)[0]

    def differences(self) -> list[str]:
        """From the uninterrupted run."""
        _, expected = self._bench.reference(self._variant)
        return differences(expected, in_child(self.workdir, ending))


def check(ended: Ended, log: pathlib.Path) -> bool:
    """Whether an attempt was killed; it was complete otherwise.

    Raises:
      KillTestError: it was neither.
    """
    if ended.status and not ended.killed:
        said = log.read_text(encoding="utf-8")[-2000:]
        raise KillTestError(
            f"{log}: exit status {ended.status} in {ended.phase}:\n{said}"
        )
    return ended.killed


def in_child(
    workdir: pathlib.Path,
    read: Callable[[pathlib.Path], dict[str, str]],
) -> dict[str, str]:
    """What `read` gives, read in a process of its own.

    TensorFlow must not start in this one, which is forked again.
    """
    path = workdir.parent / f"{workdir.name}.ending.json"
    log = path.with_suffix(".log")

    def body(name: Callable[[str], None]) -> None:
        name("reading")
        path.write_text(json.dumps(read(workdir)), encoding="utf-8")

    if check(Attempt(body, log).end(), log):
        raise KillTestError(f"{workdir}: somebody else killed the reader")
    return json.loads(path.read_text(encoding="utf-8"))


class Aim:
    """Chooses where to kill, so that the phases have like shares."""

    # Of so many kills one is at a plain random time.
    _PLAIN = 6

    def __init__(self, kills: int, needed: int, seed: int) -> None:
        """Creates the choice.

        Args:
          kills: number of kills at least.
          needed: number in every phase at least, which may take more kills.
          seed: of all choices.
        """
        self._wanted, self._needed = kills, needed
        self._random = random.Random(seed)
        self.kills = dict.fromkeys(PHASES, 0)
        self.plain = 0

    @property
    def total(self) -> int:
        """Kills so far."""
        return sum(self.kills.values())

    def done(self) -> bool:
        """Whether there are enough; a phase never hit is given up."""
        enough = self.total >= self._wanted and not self.missed()
        return enough or self.total >= 2 * self._wanted

    def missed(self) -> list[str]:
        """The phases with too few kills."""
        return [p for p, count in self.kills.items() if count < self._needed]

    def shoot(self, run: Run) -> Ended:
        """Starts the run and kills it, unless it is complete before."""
        attempt, chance, course = run.start(), self._random, run.course()
        plain = chance.randrange(self._PLAIN) == 0
        if plain:
            attempt.wait_seconds(chance.uniform(0, _seconds(course)))
            ended = attempt.kill()
        else:
            phase = self._phase(run)
            durations = _durations(course, phase) if phase else []
            nth = min(1 + int(chance.expovariate(1)), len(durations))
            if phase and attempt.wait_for(phase, nth):
                # Rather early: the uninterrupted run may have been slower.
                share = chance.random() ** 2
                attempt.wait_seconds(share * chance.choice(durations))
                ended = attempt.kill()
            else:
                ended = attempt.end()
        if ended.killed:
            self.kills[ended.phase] += 1
            self.plain += plain
        return ended

    def _phase(self, run: Run) -> str | None:
        """One that is short of kills; None where that will not come again."""
        few = min(self.kills.values()) + 1
        short = self.missed() or [p for p in PHASES if self.kills[p] <= few]
        behind = (HEAD, BETWEEN) if run.has_begun_finetune() else ()
        return self._random.choice(
            [phase for phase in short if phase not in behind] or [None]
        )


def _durations(course: Ended, phase: str) -> list[float]:
    """Seconds from each entry of a phase to the next name."""
    ends = [*(entry.at for entry in course.entries[1:]), course.end]
    return [
        end - entry.at
        for entry, end in zip(course.entries, ends, strict=True)
        if entry.name == phase
    ]


def _seconds(course: Ended) -> float:
    return course.end - course.entries[0].at
