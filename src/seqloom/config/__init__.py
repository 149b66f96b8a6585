"""Typed configs: schemas of every group, composition, explanations of mistakes, and `build`."""

from seqloom.config.build import build as build
from seqloom.config.build import trust_file_of as trust_file_of
from seqloom.config.build import trust_named_files as trust_named_files
from seqloom.config.paths import config_dir as config_dir
from seqloom.config.runs import plain as plain
from seqloom.config.runs import resume_config as resume_config
from seqloom.config.runs import run_config as run_config
