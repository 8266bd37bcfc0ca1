"""Fine-tunes image classifiers: `python main.py --help` lists the flags."""

from __future__ import annotations

import os
import sys

import flags
from trainer.errors import TrainerError
from trainer.fields import EVALUATE, EXPORT, PREDICT, STUDY, USING_STAGES
from trainer.quiet import native_notes_hidden


def main(argv: list[str]) -> None:
    """Dispatches on --stage."""
    del argv  # The parser has refused what is not a flag.
    try:
        config, given = flags.config_from_flags()
        if config.stage not in USING_STAGES:
            print(*config.introduction(), sep="\n", flush=True)
        # TensorFlow starts only once the flags are legal.
        with native_notes_hidden(not flags.wants_traceback()):
            from trainer import devices, run, use
            from trainer.study import run as study

            devices.discover()

        users = {
            EVALUATE: use.evaluate,
            PREDICT: use.predict,
            EXPORT: use.export,
        }
        if config.stage in users:
            users[config.stage](config, given)
        else:
            trainer = study if config.stage == STUDY else run
            (trainer.dry_run if config.dry_run else trainer.train)(config)
    except TrainerError as error:
        if flags.wants_traceback():
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # Who reads the output has seen enough; say nothing more to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            "stopped; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        sys.exit(130)


if __name__ == "__main__":
    flags.run(main)
