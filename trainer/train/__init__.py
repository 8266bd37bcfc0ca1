"""Training of one stage: steps, loop, checkpoints, metrics, audit."""
