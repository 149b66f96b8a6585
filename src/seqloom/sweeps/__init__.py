"""Several runs from one command line, each in processes of its own."""

from seqloom.sweeps.jobs import Job, JobError, run_jobs

__all__ = ["Job", "JobError", "run_jobs"]
