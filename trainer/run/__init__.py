"""Runs the stage of `--stage`: trains, evaluates, predicts or exports."""
