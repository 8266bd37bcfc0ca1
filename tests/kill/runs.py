"""A tiny run that is killed and started again until it is complete."""

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
from trainer.config.recipes import BEFORE_RENDERING

# Small, but with several epochs, augmentation, a padded last batch, checkpoints
# within epochs, frozen layers, and learning rates that change every weight.
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
# The first keeps two checkpoints, and fine-tunes in two parts. The second keeps
# one and also saves epoch boundaries, and its finetune starts from the best
# checkpoint. The stages of the third end early, with their best weights. The
# fourth is the recipe `best`: a solved head, then decay, a schedule and
# averaged weights. The second and the fourth are not augmented, because an
# attempt mostly traces graphs.
ONE_KEPT, SOLVED = 1, 3
VARIANTS: tuple[Mapping[str, Any], ...] = (
    {"keep_checkpoints": 2, "unfreeze": "last:5@1,all@1", "epochs": None},
    {
        "keep_checkpoints": 1,
        "on_nonfinite": "rollback",
        "init_from_checkpoint": "best",
        "augment": False,
    },
    {
        "epochs": 4,
        "head_epochs": 4,
        "monitor": "loss",
        "patience": 1,
        "validation": "train:0.25",
        "validation_fraction": None,
    },
    {
        "keep_checkpoints": 1,
        "recipe": "best",
        # Two epochs, with averages that follow them.
        "min_steps": 0,
        "ema": 0.8,
        "augment": False,
        **BEFORE_RENDERING,
        "head_epochs": None,
        "head_learning_rate": None,
    },
)


class KillTestError(Exception):
    """An attempt failed, or a kill missed its boundary."""


class Bench:
    """The images, and the final states of uninterrupted runs."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        # 21 images in batches of 4: six steps per epoch.
        self.photos = make_photos(root / "photos", train=7)
        self._references: dict[int, tuple[Ended, dict[str, str]]] = {}

    def values(self, workdir: pathlib.Path, variant: int) -> dict[str, Any]:
        """Returns the flags of a run."""
        values = {"dataset": self.photos, "workdir": workdir, **_VALUES}
        values |= VARIANTS[variant]
        return {name: v for name, v in values.items() if v is not None}

    def reference(self, variant: int) -> tuple[Ended, dict[str, str]]:
        """Returns the phases and the final state of an uninterrupted run."""
        if variant not in self._references:
            run = Run(self, f"reference{variant}", variant)
            ended = run.start().end()
            check(ended, run.log)
            self._references[variant] = ended, in_child(run.workdir, ending)
        return self._references[variant]


class Run:
    """A run in one workdir, which may take several attempts."""

    def __init__(self, bench: Bench, name: str, variant: int) -> None:
        self._bench, self._variant = bench, variant
        self.name, self.kills = name, 0
        self.workdir, self.log = bench.root / name, bench.root / f"{name}.log"

    def start(self, arm: Callable[[], None] | None = None) -> Attempt:
        """Starts or resumes the run with the same command."""
        asked = arguments(self._bench.values(self.workdir, self._variant))
        return Attempt(lambda name: run_command(asked, name, arm), self.log)

    def has_begun_finetune(self) -> bool:
        """Returns whether the phases before finetune are over."""
        return any(self.workdir.glob("checkpoints/finetune*/last/*.index"))

    def course(self) -> Ended:
        """Returns the phases of an uninterrupted run with the same flags."""
        return self._bench.reference(self._variant)[0]

    def differences(self) -> list[str]:
        """Returns the differences from the uninterrupted run."""
        _, expected = self._bench.reference(self._variant)
        return differences(expected, in_child(self.workdir, ending))


def check(ended: Ended, log: pathlib.Path) -> bool:
    """Returns whether an attempt was killed; otherwise it was complete.

    Raises:
      KillTestError: the attempt failed.
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
    """Returns the result of `read`, called in another process.

    TensorFlow must not start in this process, which is forked again later.
    """
    path = workdir.parent / f"{workdir.name}.ending.json"
    log = path.with_suffix(".log")

    def body(name: Callable[[str], None]) -> None:
        name("reading")
        path.write_text(json.dumps(read(workdir)), encoding="utf-8")

    if check(Attempt(body, log).end(), log):
        raise KillTestError(f"{workdir}: the reading process was killed")
    return json.loads(path.read_text(encoding="utf-8"))


class Aim:
    """Chooses the instants of kills, about equally many in each phase."""

    # One of this many kills is at a random time, whatever the phase.
    _PLAIN = 6

    def __init__(self, kills: int, needed: int, seed: int) -> None:
        """Creates the object.

        Args:
          kills: minimum number of kills.
          needed: minimum number of kills in each phase.
          seed: decides all random choices.
        """
        self._wanted, self._needed = kills, needed
        self._random = random.Random(seed)
        self.kills = dict.fromkeys(PHASES, 0)
        self.plain = 0

    @property
    def total(self) -> int:
        """Number of kills so far."""
        return sum(self.kills.values())

    def done(self) -> bool:
        """Returns whether there are enough kills, in all and in each phase.

        After twice the number of kills, a phase that was missed is given up.
        """
        enough = self.total >= self._wanted and not self.missed()
        return enough or self.total >= 2 * self._wanted

    def missed(self) -> list[str]:
        """Returns the phases with too few kills."""
        return [p for p, count in self.kills.items() if count < self._needed]

    def shoot(self, run: Run) -> Ended:
        """Starts the run, and kills it unless it completes before."""
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
                # Early instants are more likely, because the uninterrupted
                # run may have been slower.
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
        """Returns a phase with few kills; None if it is already over.

        Until each phase has the kills that it needs, the phases come in their
        order, so that one run is killed in several of them.
        """
        behind = (HEAD, BETWEEN) if run.has_begun_finetune() else ()
        missed = self.missed()
        if missed:
            ahead = [phase for phase in missed if phase not in behind]
            return min(ahead, key=self.kills.__getitem__, default=None)
        few = min(self.kills.values()) + 1
        short = [p for p in PHASES if self.kills[p] <= few]
        return self._random.choice(
            [phase for phase in short if phase not in behind] or [None]
        )


def _durations(course: Ended, phase: str) -> list[float]:
    """Returns the seconds that each occurrence of a phase took."""
    ends = [*(entry.at for entry in course.entries[1:]), course.end]
    return [
        end - entry.at
        for entry, end in zip(course.entries, ends, strict=True)
        if entry.name == phase
    ]


def _seconds(course: Ended) -> float:
    return course.end - course.entries[0].at
