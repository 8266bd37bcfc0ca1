"""Trains one stage: steps, loop, checkpoints, metrics and audit."""
