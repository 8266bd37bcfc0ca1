"""A stage whose head is solved exactly: one epoch of one step."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from threadpoolctl import threadpool_limits

from trainer import interrupt
from trainer.config.ranges import parse_l2
from trainer.errors import TrainerError
from trainer.learning.audit import digest
from trainer.learning.exact_head import (
    Solution,
    fold,
    loss_and_gradient,
    solve,
)
from trainer.learning.head_features import check_finite_rows, head_features
from trainer.learning.head_path import (
    FALLBACK_L2,
    FOLDS,
    chosen_point,
    cross_validate,
    folds_of,
    path_record,
)
from trainer.learning.loop import StageLoop
from trainer.learning.nonfinite import NonFiniteError
from trainer.learning.principal_axes import (
    Rotated,
    rotated,
    standardisation,
)
from trainer.learning.stage import StageJob
from trainer.learning.steps import UNCONNECTED
from trainer.workdir import HEAD_PATH

# Whether --head_views also counts the image as it is.
PLAIN_VIEW = True


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SolvedHead:
    """A solved head, ready for the classifier.

    Attributes:
      kernel: float32 (channels, classes), of the Dense layer.
      bias: float32 (classes,).
      solution: the unfolded solution, in the principal axes of the features.
      chosen: the L2 strength and how it was chosen, for the log.
    """

    kernel: np.ndarray
    bias: np.ndarray
    solution: Solution
    chosen: str


class SolvedStage(StageLoop):
    """Solves the head of one stage, in place of training steps.

    Checkpoints, validation, metrics and audit are those of `StageLoop`. The
    optimizer is built, so that checkpoints have the same form, but never used.
    """

    def __init__(self, job: StageJob) -> None:
        """Creates the stage; nothing is computed yet."""
        super().__init__(job)
        self._epoch_steps = 1
        self._solution: Solution | None = None

    def _train(self, end: int) -> None:
        """Solves the head, and validates it.

        If the stage is stopped during its validation, the resumed run solves
        the head again, with the same bits.

        Raises:
          Stopped: a signal arrived; nothing is saved.
          TrainerError: features, loss or gradient are not finite.
        """
        state = self._state
        state.step = end - 1
        began = time.perf_counter()
        features = self._features()
        # Threads do not speed up products with few columns; on two busy cores
        # they took twenty times as long. With one thread, rounding does not
        # depend on the number of cores.
        with threadpool_limits(1, user_api="blas"):
            self._note_gradient(features)
            head = self._solve(features)
        self._assign(head.kernel, head.bias)
        solution = head.solution
        count = len(features)
        state.seconds = time.perf_counter() - began
        state.step = end
        state.epoch_sums = {
            "loss": solution.loss * count,
            "correct": float(solution.correct),
            "count": float(count),
        }
        self._solution = solution
        print(
            f"head: {head.chosen}, gradient {solution.gradient:.0e} of the"
            " initial one",
            flush=True,
        )
        problem = solution.problem(count)
        if problem:
            self._workdir.warn(problem)
        try:
            self._end_epoch()
        except NonFiniteError as error:
            raise TrainerError(
                f"{state.stage}: {error.what} of a solved head; give another"
                " --head_l2, or --head_solver=adam"
            ) from error

    def _features(self) -> np.ndarray:
        """Returns the features of the training subset, float32 (n, channels).

        Raises:
          Stopped: a signal arrived.
          TrainerError: a feature is not finite.
        """
        job, config = self._job, self._job.config
        if job.spec.views:
            return self._view_features()
        return head_features(
            job.train,
            job.classifier,
            job.inputs.training(job.train, augment=False),
            batch_size=config.batch_size // config.accumulate_steps,
            xla=job.runtime.xla,
            report=job.progress.rows,
            processes=job.runtime.processes,
        )

    def _view_features(self) -> np.ndarray:
        """Returns the features of all views, those of one after the other."""
        job = self._job
        cached = job.inputs.views(
            job.train,
            job.spec.views,
            seed=job.config.seed,
            policy=job.config.augment,
            plain=PLAIN_VIEW,
        )
        rows = len(job.train) * self._passes
        # The stage's cut is before the head: one feature.
        (found,) = cached.read(np.arange(rows))
        found = found.astype(np.float32, copy=False)
        check_finite_rows(found, job.train.ids)
        return found

    @property
    def _passes(self) -> int:
        """How many rows of features each sample has."""
        views = self._job.spec.views
        return views + PLAIN_VIEW if views else 1

    @property
    def _labels(self) -> np.ndarray:
        """The labels of all rows of features."""
        return np.concatenate([self._job.train.labels] * self._passes)

    def _solve(self, features: np.ndarray) -> SolvedHead:
        """Solves the head on the features of the training subset.

        The gradient is computed again on the standardised features, to check
        the solution without the principal axes.
        """
        job = self._job
        labels = self._labels
        classes = job.classifier.head.units
        by = standardisation(features)
        interrupt.check()
        axes = rotated(features, by)
        interrupt.check()
        l2, chosen = self._l2(axes)
        importance = self._importance()
        found = solve(
            axes.coordinates,
            labels,
            classes,
            l2=l2,
            variances=axes.variances,
            importance=importance,
        )
        kernel = axes.axes @ found.kernel
        weights = np.vstack([kernel, found.bias])
        end, start = (
            float(
                np.linalg.norm(
                    loss_and_gradient(
                        at,
                        features,
                        labels,
                        l2=l2,
                        importance=importance,
                        by=by,
                    )[1]
                )
            )
            for at in (weights, np.zeros_like(weights))
        )
        # Every process solves the head, so that all handle signals alike. Those
        # on another processor may round differently.
        dense_kernel, dense_bias = (
            job.runtime.processes.chief_array(array)
            for array in fold(kernel, found.bias, by)
        )
        return SolvedHead(
            kernel=dense_kernel,
            bias=dense_bias,
            solution=dataclasses.replace(
                found, gradient=end / start if start else 0.0
            ),
            chosen=chosen,
        )

    def _l2(self, axes: Rotated) -> tuple[float, str]:
        """Returns the L2 strength, and a text that explains the choice."""
        given = parse_l2(self._job.config.head_l2)
        if given is not None:
            return given, f"l2 {given:g}"
        samples = self._job.train
        folds = folds_of(
            samples.ids,
            samples.labels,
            seed=self._job.config.seed,
            groups=samples.groups,
        )
        if (folds < 0).all():
            return FALLBACK_L2, (
                f"l2 {FALLBACK_L2:g}, because one image per class leaves none"
                " to validate on"
            )
        path = cross_validate(
            axes,
            self._labels,
            self._job.classifier.head.units,
            # All views of an image are held out together.
            np.tile(folds, self._passes),
            importance=self._importance(),
            check=interrupt.check,
        )
        several = samples.multilabel
        record = path_record(path, multilabel=several)
        self._workdir.write_json(HEAD_PATH, record)
        point = chosen_point(path)
        hits = "exact match" if several else "accuracy"
        return point.l2, (
            f"l2 {point.l2:g} of {len(path)} values by {FOLDS}-fold"
            f" cross-validation, cross-validated {hits} {point.accuracy:.3f}"
        )

    def _note_gradient(self, features: np.ndarray) -> None:
        """Records the gradient at the initial head, for the audit.

        If the head is solved again, the first record stays.
        """
        state, head = self._state, self._job.classifier.head
        weights = np.vstack([head.kernel.numpy(), head.bias.numpy()])
        _, gradient = loss_and_gradient(
            weights.astype(np.float64),
            features,
            self._labels,
            l2=0.0,
            importance=self._importance(),
        )
        for key, part in self._of_head(gradient[:-1], gradient[-1]).items():
            if state.gradient_max[key] == UNCONNECTED:
                state.gradient_max[key] = float(np.abs(part).max())

    def _importance(self) -> np.ndarray | None:
        """Returns the factor of each sample's loss; None for 1."""
        of_classes = self._job.loss.class_weights
        weights = self._job.train.weights
        if weights is not None:
            weights = np.tile(weights, self._passes)
        if not of_classes:
            return weights
        found = np.array(of_classes)[self._labels]
        return found if weights is None else found * weights

    def _assign(self, kernel: np.ndarray, bias: np.ndarray) -> None:
        """Sets the head on every replica."""
        variables = self._job.classifier.variables
        parts = self._of_head(kernel, bias)
        with self._job.runtime.strategy.scope():
            for key, value in parts.items():
                variables[key].assign(value)
        for key in parts:
            if digest(variables[key]) == self._state.digests[key]:
                # The initial head was the solution already.
                self._state.gradient_max[key] = 0.0

    def _of_head(
        self, kernel: np.ndarray, bias: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the arrays by the keys of kernel and bias."""
        head = self._job.classifier.head
        values = {id(head.kernel): kernel, id(head.bias): bias}
        variables = self._job.classifier.variables
        return {
            key: values[id(variables[key])] for key in self._job.plan.trainable
        }

    def _epoch_metrics(self) -> dict[str, float]:
        assert self._solution is not None
        return {
            "l2": self._solution.l2,
            "relative_gradient": self._solution.gradient,
        }

    def _epoch_title(self, epoch: int) -> str:
        del epoch
        return f"{self._state.stage} solved"
