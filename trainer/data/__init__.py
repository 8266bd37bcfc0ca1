"""Data sets, from `--dataset` to the batches of a step."""
