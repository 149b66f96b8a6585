"""The run folder: what a run leaves, and how it is found, locked and read. No torch here."""

from seqloom.runs.budget import duration_s as duration_s
from seqloom.runs.budget import next_limit as next_limit
from seqloom.runs.files import sha256_of_file as sha256_of_file
from seqloom.runs.files import sha256_of_vocabulary as sha256_of_vocabulary
from seqloom.runs.files import write_atomic as write_atomic
from seqloom.runs.folder import RunFolder as RunFolder
from seqloom.runs.folder import find_runs as find_runs
from seqloom.runs.folder import short_name as short_name
from seqloom.runs.metrics_file import MetricsFile as MetricsFile
from seqloom.runs.metrics_file import read_metrics as read_metrics
from seqloom.runs.summary import Summary as Summary
from seqloom.runs.summary import collect_versions as collect_versions
