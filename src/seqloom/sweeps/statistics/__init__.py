"""What can be said of many runs: descriptions of groups, and tests of the difference of two."""

from seqloom.sweeps.statistics.bootstrap import PairedTest, paired_bootstrap
from seqloom.sweeps.statistics.correction import holm
from seqloom.sweeps.statistics.description import Description, describe
from seqloom.sweeps.statistics.examples import ExampleSums, metric_sums
from seqloom.sweeps.statistics.seeds import (
    almost_stochastic_order,
    permutation_test,
    smallest_p,
)
from seqloom.sweeps.statistics.verdict import GroupScores, compare_all, compare_groups
from seqloom.sweeps.statistics.wording import Verdict, runs_needed, with_correction

__all__ = [
    "Description",
    "ExampleSums",
    "GroupScores",
    "PairedTest",
    "Verdict",
    "almost_stochastic_order",
    "compare_all",
    "compare_groups",
    "describe",
    "holm",
    "metric_sums",
    "paired_bootstrap",
    "permutation_test",
    "runs_needed",
    "smallest_p",
    "with_correction",
]
