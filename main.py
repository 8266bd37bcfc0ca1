"""Fine-tunes image classifiers: `python main.py --help` lists the flags."""

from __future__ import annotations

import os
import sys

# TensorFlow's start-up notes would hide the one line that matters.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import flags  # noqa: E402
from trainer.config import EVALUATE  # noqa: E402
from trainer.errors import TrainerError  # noqa: E402


def main(argv: list[str]) -> None:
    """Dispatches on --stage."""
    del argv  # The parser has refused what is not a flag.
    try:
        config, given = flags.config_from_flags()
        from trainer import run  # TensorFlow, only once the flags are legal.

        if config.stage == EVALUATE:
            run.evaluate(config, given)
        elif config.dry_run:
            run.dry_run(config)
        else:
            run.train(config)
    except TrainerError as error:
        if flags.wants_traceback():
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print(
            "stopped; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        sys.exit(130)


if __name__ == "__main__":
    flags.run(main)
