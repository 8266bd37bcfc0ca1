"""Fine-tunes image classifiers: `python main.py --help` lists the flags.

`pip install` gives the same program as the command `transfer-trainer`.
"""

import sys

from trainer.command.program import main, program

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(program())
