"""Times the steps and validations of a stage, and estimates its rest."""

from __future__ import annotations

import dataclasses

from trainer.workdir.clock import CLOCK, Clock

# Steps are timed for so long before the rest of a stage is estimated.
_TIMED_SECONDS = 5
# A rest that takes less is not worth a line.
_LONG_SECONDS = 60


@dataclasses.dataclass(kw_only=True)
class _Lap:
    """The times of one epoch, or of several with one validation."""

    seconds: float = 0.0
    images: int = 0
    validation: float | None = None


class Blocks:
    """Times blocks of images, without the first one of each split.

    The first one includes compiling, and starting the input pipeline.

    Attributes:
      images: number of images in the timed blocks.
      seconds: their time.
    """

    def __init__(self) -> None:
        """Counts nothing yet."""
        self.images, self.seconds = 0, 0.0
        self._done, self._mark = 0, 0.0

    def count(self, done: int, total: int, now: float) -> float:
        """Returns the seconds of the block that ends now; 0 if untimed.

        Args:
          done: number of images done.
          total: number of images of the split.
          now: the time.
        """
        seconds = 0.0
        if 0 < self._done < done:
            seconds = now - self._mark
            self.images += done - self._done
            self.seconds += seconds
        self._done, self._mark = (done if done < total else 0), now
        return seconds

    @property
    def each(self) -> float | None:
        """Seconds per image; None if no block was timed."""
        return self.seconds / self.images if self.images else None


class StageTime:
    """Times a stage in this process, without the call that compiles its step.

    Attributes:
      began: the time at which the stage began.
      images: number of images trained.
      rows: the rows computed for the cache.
    """

    def __init__(self, clock: Clock = CLOCK) -> None:
        """Starts the time of the stage."""
        self._clock = clock
        self._laps: list[_Lap] = []
        self._compiled = False
        self._estimated = False
        self._ends: float | None = None
        self._evaluated = Blocks()
        self._evaluated_images = 0
        self.began = self._mark = clock.now()
        self.images = 0
        self.rows = Blocks()

    def epoch(self) -> None:
        """Begins an epoch."""
        self._laps.append(_Lap())
        self._mark = self._clock.now()

    def steps(self, images: int) -> None:
        """Counts trained images; the stage's first ones are not timed."""
        now = self._clock.now()
        if self._laps and self._compiled:
            self._laps[-1].seconds += now - self._mark
            self._laps[-1].images += images
        self._compiled = True
        self.images += images
        self._mark = now

    def evaluated(self, done: int, total: int) -> None:
        """Counts images of a validation."""
        self._evaluated.count(done, total, self._clock.now())
        self._evaluated_images = total

    def end_epoch(self) -> None:
        """Ends an epoch with its validation and checkpoint."""
        if len(self._laps) == 1:
            # It has compiled.
            each = self._evaluated.each or 0.0
            self._laps[0].validation = each * self._evaluated_images
        elif self._laps:
            self._laps[-1].validation = self._clock.now() - self._mark

    def count_rows(self, done: int, total: int) -> None:
        """Counts rows of the cache; their time is not that of an epoch."""
        self._mark += self.rows.count(done, total, self._clock.now())

    def seconds(self) -> float:
        """Returns the seconds since the stage began."""
        return self._clock.now() - self.began

    @property
    def validations(self) -> int:
        """Number of validations."""
        return sum(lap.validation is not None for lap in self._laps)

    def per_image(self) -> float | None:
        """Returns the seconds per trained image; None if unknown.

        The first epoch counts only until another one is complete.
        """
        laps = self._timed_laps()
        images = sum(lap.images for lap in laps)
        return sum(lap.seconds for lap in laps) / images if images else None

    def per_validation(self) -> float:
        """Returns the seconds per validation; 0 before the first one."""
        found = [lap.validation or 0.0 for lap in self._timed_laps()]
        return sum(found) / len(found) if found else 0.0

    def _timed_laps(self) -> list[_Lap]:
        later = [lap for lap in self._laps[1:] if lap.validation is not None]
        return later or self._laps[:1]

    def news(self, images: int, validations: int) -> float | None:
        """Returns the rest of the stage, seconds, if it is to be shown now.

        It is shown after the first seconds of training, or after the first
        epoch; again after the first epoch if it was off by more than a third.

        Args:
          images: number of images that are still to be trained on.
          validations: number of validations still to come.
        """
        per_image = self.per_image()
        if len(self._laps) != 1 or per_image is None:
            return None
        if not self.validations:
            if self._estimated or self._laps[0].seconds < _TIMED_SECONDS:
                return None
            self._estimated = True
        now = self._clock.now()
        left = per_image * images + self.per_validation() * validations
        if self._ends is not None:
            expected = self._ends - now
            if abs(left - expected) <= expected / 3:
                return None
        if left < _LONG_SECONDS:
            return None
        self._ends = now + left
        return left


def shown_time(seconds: float) -> str:
    """Returns the time in whole minutes, or in hours and minutes."""
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
