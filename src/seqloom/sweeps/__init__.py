"""Several runs from one command line, each in processes of its own."""

from seqloom.sweeps.jobs import Job, JobError
from seqloom.sweeps.options import SweepOptions
from seqloom.sweeps.runner import Runner, check_jobs

__all__ = ["Job", "JobError", "Runner", "SweepOptions", "check_jobs"]
