"""The trials of a search: which flags they set, and with which values."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from trainer.config import Config
from trainer.config.fields import (
    ADAM,
    AUGMENT,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    LBFGS,
    OFF,
    RESULT,
    SEARCH,
)
from trainer.config.given import UNREAD_BY_SOLVER
from trainer.config.recipes import expand
from trainer.errors import UsageError
from trainer.run.resolve import LEARNING_RATES

# The learning rate is log-uniform from the recipe's rate divided by this factor
# to the recipe's rate times this factor.
_RATE_FACTOR = 8.0
_DEPTHS = ("last:10", "all")
_SMOOTHING = (0.0, 0.1)
_DECAYS = (0.0, 0.01, 0.05)
# Number of augmented views of the second solved head.
_VIEWS = 5
# Makes these random values independent of others with the same seed.
_STREAM = 0x5EA
# After this many repeated draws in a row, the space counts as exhausted.
_MAX_REPEATS = 1000
# Flags of the search itself, which its trials do not get.
_OWN = frozenset({"stage", "budget", "workdir", "dry_run"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A recipe to try.

    Attributes:
      name: short and unique in the search.
      stage: feature_extract or finetune.
      values: the flags that it sets in addition to those given by the user.
    """

    name: str
    stage: str
    values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A training run of a trial, over all of its epochs or a fraction of them.

    Attributes:
      trial: the recipe.
      length: the fraction of the epochs, above 0 and up to 1.
      flags: all flags of the run, except `workdir`.
    """

    trial: Trial
    length: Fraction
    flags: Mapping[str, Any]

    @property
    def key(self) -> str:
        """A digest of the flags that change results; also the folder name."""
        flags = {
            name: value
            for name, value in self.flags.items()
            # --recipe is included, because the flags that it sets change the
            # results.
            if name == "recipe" or FIELDS[name].metadata["effect"] == RESULT
        }
        text = json.dumps(flags, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    def config(self) -> Config:
        """Returns the configuration of the run, without a workdir."""
        return config_of(self.flags)


def config_of(flags: Mapping[str, Any]) -> Config:
    """Returns the configuration of a command with these flags."""
    values = {name: field.default for name, field in FIELDS.items()}
    return Config(**expand({**values, **flags}, frozenset(flags)))


class Space:
    """The search space of one command, and its trials.

    Attributes:
      fixed: the sorted names of flags that would be searched, but were given
        by the user.
      searched: the flags that are searched, each with a text that lists its
        values.
    """

    def __init__(self, config: Config, given: frozenset[str]) -> None:
        """Creates the space.

        Args:
          config: the configuration of the search.
          given: the names of the flags that were given explicitly.

        Raises:
          UsageError: every flag that could be searched was given.
        """
        self._config = config
        self._given = {
            name: getattr(config, name)
            for name, field in FIELDS.items()
            if name in given - _OWN and SEARCH in field.metadata["stages"]
        }
        # The default of training would validate on test images.
        self._given.setdefault("validation", config.validation or "auto")
        choices = self._choices()
        self.fixed = sorted(choices.keys() & given)
        self._free = {k: v for k, v in choices.items() if k not in given}
        if not self._free:
            raise UsageError(
                f"--stage={SEARCH}: nothing is left to search, because"
                f" --{', --'.join(self.fixed)} are all given; leave one of"
                " them out"
            )
        self.searched = {
            name: _phrase(values) for name, values in self._free.items()
        }

    def _choices(self) -> dict[str, tuple[Any, ...]]:
        """Returns the values of each flag; for learning_rate, its range."""
        config = self._config
        rate = config.learning_rate or LEARNING_RATES[FINETUNE]
        policies = [x for x in AUGMENT if x != OFF or not config.head_views]
        choices: dict[str, tuple[Any, ...]] = {
            "learning_rate": (rate / _RATE_FACTOR, rate * _RATE_FACTOR),
            "unfreeze": _with(config.unfreeze, _DEPTHS),
            "augment": tuple(policies),
            "label_smoothing": _with(config.label_smoothing, _SMOOTHING),
        }
        if config.optimizer != ADAM:
            choices["weight_decay"] = _with(config.weight_decay, _DECAYS)
        return choices

    def default(self) -> Trial:
        """Returns the unchanged recipe: the flags as given."""
        return Trial(name="default", stage=FINETUNE, values={})

    def heads(self) -> tuple[Trial, ...]:
        """Returns the trials that train only a head.

        These are a solved head and, if views can be cached, a head solved on
        augmented views. If --head_solver=adam is given, there is one head,
        which is trained as it is before fine-tuning.
        """
        config = self._config
        if self._given.get("head_solver") == ADAM:
            values = {
                "epochs": max(1, config.head_epochs),
                "learning_rate": config.head_learning_rate,
            }
            return (Trial(name="head", stage=FEATURE_EXTRACT, values=values),)
        solved: dict[str, Any] = {"head_solver": LBFGS}
        if config.head_views:
            # A solved head reads --augment only with --head_views.
            solved["augment"] = config.augment
        head = Trial(name="head", stage=FEATURE_EXTRACT, values=solved)
        problems = (
            "head_views" in self._given,
            config.augment == OFF,
            config.cache == OFF,
            config.trunk_engine == "step",
        )
        if any(problems):
            return (head,)
        views = {**solved, "head_views": _VIEWS, "augment": config.augment}
        return (
            head,
            Trial(
                name=f"head, {_VIEWS} views",
                stage=FEATURE_EXTRACT,
                values=views,
            ),
        )

    def draws(self, count: int) -> list[Trial]:
        """Returns random fine-tunes; fewer than `count` if the space is small.

        The unchanged recipe is not among them, because it is always trained.
        They depend only on the seed and the space. A larger count adds trials
        without changing the earlier ones.
        """
        generator = np.random.default_rng([self._config.seed, _STREAM])
        found: list[Trial] = []
        unchanged = {name: getattr(self._config, name) for name in self._free}
        seen = {json.dumps(unchanged, sort_keys=True)}
        repeats = 0
        while len(found) < count and repeats < _MAX_REPEATS:
            values = self._draw(generator)
            text = json.dumps(values, sort_keys=True)
            if text in seen:
                repeats += 1
                continue
            repeats = 0
            seen.add(text)
            name = str(len(found) + 1)
            found.append(Trial(name=name, stage=FINETUNE, values=values))
        return found

    def _draw(self, generator: np.random.Generator) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, choices in self._free.items():
            if name == "learning_rate":
                low, high = (math.log(limit) for limit in choices)
                drawn = math.exp(generator.uniform(low, high))
                # Two digits keep the command line short.
                values[name] = float(f"{drawn:.1e}")
            else:
                values[name] = choices[int(generator.integers(len(choices)))]
        return values

    def job(self, trial: Trial, length: Fraction = Fraction(1)) -> Job:
        """Returns the run of a trial over a fraction of its epochs.

        The run has at least one epoch. --min_steps is multiplied by the same
        fraction, and so is --warmup if it is a number of steps.

        Args:
          trial: the recipe; it must fine-tune if the length is below 1.
          length: the fraction of the epochs, above 0 and up to 1.
        """
        flags: dict[str, Any] = {
            "stage": trial.stage,
            **self._read_by(trial),
            **trial.values,
        }
        config = self._config
        epochs = max(1, round(config.epochs * length))
        if length == 1 or (epochs == config.epochs and not config.min_steps):
            return Job(trial=trial, length=Fraction(1), flags=flags)
        flags["epochs"] = epochs
        if config.min_steps:
            flags["min_steps"] = math.ceil(config.min_steps * length)
        if config.warmup >= 1:
            flags["warmup"] = float(math.ceil(config.warmup * length))
        return Job(trial=trial, length=length, flags=flags)

    def depth(self, flags: Mapping[str, Any]) -> str:
        """Returns the --unfreeze value of a run with these flags."""
        return str(flags.get("unfreeze", self._config.unfreeze))

    def _read_by(self, trial: Trial) -> dict[str, Any]:
        """Returns the flags given by the user that the trial's stage reads."""
        solved = trial.values.get("head_solver", ADAM) == LBFGS
        unread = UNREAD_BY_SOLVER[FEATURE_EXTRACT] if solved else ()
        if self._config.augment == OFF:
            # A head alone then trains on cached features, not on images.
            unread = (*unread, "mix", "erasing")
        return {
            name: value
            for name, value in self._given.items()
            if trial.stage in FIELDS[name].metadata["stages"]
            and (trial.stage == FINETUNE or name not in unread)
        }


def _with(first: Any, others: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the recipe's value, and then the other values without it."""
    return (first, *(value for value in others if value != first))


def _phrase(values: tuple[Any, ...]) -> str:
    if len(values) == 2 and all(isinstance(x, float) and x for x in values):
        return f"{values[0]:g} to {values[1]:g}"
    return ", ".join(f"{x:g}" if isinstance(x, float) else x for x in values)
