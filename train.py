"""Trains a model: `python train.py task=translation`; `--help` says more.

The entry that users, distributed processes and sweeps start. It imports nothing heavy, so that help
and mistakes answer at once; torch comes with the training itself.
"""

import sys

from seqloom.entry import train

if __name__ == "__main__":
    sys.exit(train(sys.argv[1:]))
