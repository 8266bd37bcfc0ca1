"""Parts of a run's stages: what trains one, and where the next one starts."""

from __future__ import annotations

from trainer.model.classifier import Classifier
from trainer.train.checkpoint_files import find_checkpoint
from trainer.train.checkpoints import restore_variables
from trainer.train.loop import StageLoop
from trainer.train.stage import StageJob
from trainer.workdir import Workdir


def stage_loop(job: StageJob) -> StageLoop:
    """Returns what trains a stage, or solves its head."""
    if not job.spec.solved:
        return StageLoop(job)
    # SciPy takes half a second to import, which other runs need not wait for.
    from trainer.train.solved_stage import SolvedStage

    return SolvedStage(job)


def restore_start(
    workdir: Workdir,
    classifier: Classifier,
    stage: str,
    *,
    asked: str | None,
    has: str,
) -> None:
    """Restores the weights that the next stage starts from.

    Args:
      workdir: has the checkpoints of the stage.
      classifier: changed in place.
      stage: the stage that has ended.
      asked: the value of --init_from_checkpoint.
      has: the checkpoint whose weights the classifier has.
    """
    if asked and asked != has:
        path = find_checkpoint(workdir, stage, asked)
        assert path is not None
        restore_variables(path, classifier.variables)
