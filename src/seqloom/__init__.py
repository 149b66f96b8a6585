"""Seqloom: an experiment platform for recurrent sequence models.

Every part of an experiment is a Hydra config group under `conf/`; every run leaves a folder from
which it can be judged, resumed, used and shared. Importing this package is cheap: torch comes with
the rooms that need it. What runs here first is the cure that lets torchvision be imported beside a
torch it was not compiled for.
"""

from seqloom import _torchvision

__version__ = "0.1.0"

_torchvision.install()
