"""Imports what a command imports late, so that forked processes have it."""

import matplotlib.backends.backend_agg
import matplotlib.figure
import tensorboard.plugins.hparams.api

from trainer.run import training, use
from trainer.study import run as study

LOADED = (
    matplotlib.backends.backend_agg,
    matplotlib.figure,
    tensorboard.plugins.hparams.api,
    training,
    use,
    study,
)
