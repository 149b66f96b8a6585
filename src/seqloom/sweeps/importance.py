"""How much each setting of a search decides about an objective.

By fANOVA (Hutter et al. 2014): a forest is fitted to the finished trials, and the variance of what
it predicts is shared out among the settings. The price: a tenth of a second.
Settings that only some trials have are left out, and so are stopped and failed trials.
"""

from __future__ import annotations

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

MIN_TRIALS = 5  # Fewer say nothing.


def importance(
    study: optuna.Study, objectives: list[str], seed: int
) -> dict[str, dict[str, float]]:
    """For each objective the shares of the settings, largest first, with a sum of 1; {} where too
    few trials are finished, or nothing differs between them."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < MIN_TRIALS:
        return {}
    found: dict[str, dict[str, float]] = {}
    for place, name in enumerate(objectives):

        def target(trial: FrozenTrial, place: int = place) -> float:
            return float(trial.values[place])

        evaluator = FanovaImportanceEvaluator(seed=seed)
        shares = get_param_importances(study, evaluator=evaluator, target=target)
        if sum(shares.values()) > 0:
            found[name] = {key: float(share) for key, share in shares.items()}
    return found
