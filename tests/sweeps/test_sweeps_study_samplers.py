"""Samplers: they beat chance, know their numbers, and keep nothing that could run code."""

import math

import optuna
import pytest

from seqloom.config.schemas.searching import Sampler
from seqloom.errors import ConfigError
from seqloom.sweeps.cma_sampler import from_unit, to_unit
from seqloom.sweeps.distributions import suggest
from seqloom.sweeps.parameter import Parameter, read_parameter
from seqloom.sweeps.samplers import combinations, make_sampler, seed_of
from seqloom.sweeps.saved_time import saved_time
from seqloom.sweeps.space import Space


def space_of(*texts: str) -> Space:
    found = [read_parameter(text) for text in texts]
    return Space(tuple(p for p in found if p is not None), (), (), {})


def parameter(text: str) -> Parameter:
    return space_of(text).parameters[0]


QUADRATIC = space_of("a=interval(-1,1)", "b=tag(log,interval(0.001,1))", "c=range(0,11)")


def loss(settings: list[str]) -> float:
    a, b, c = (float(text.partition("=")[2]) for text in settings)
    return (a - 0.4) ** 2 + (math.log10(b) + 1.5) ** 2 / 4 + ((c - 7) / 10) ** 2


def best_of(name: str, seed: int, num_trials: int) -> float:
    options = {"sampler": name, "seed": seed, "sampler_startup_trials": 8, "population_size": 6}
    sampler = make_sampler(options, QUADRATIC, 1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    for _ in range(num_trials):
        trial = study.ask()
        study.tell(trial, loss(suggest(trial, QUADRATIC)))
    return float(study.best_value)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    ("name", "num_trials"),
    [("tpe", 36), pytest.param("gp", 20, marks=pytest.mark.slow), ("cmaes", 36)],
)
def test_a_sampler_that_learns_beats_chance(name: str, num_trials: int) -> None:
    learned = [best_of(name, seed, num_trials) for seed in range(5)]
    by_chance = [best_of("random", seed, num_trials) for seed in range(5)]
    assert sum(learned) < sum(by_chance) / 2


def test_every_sampler_can_be_made() -> None:
    for name in Sampler:
        options = {"sampler": name, "seed": 1, "sampler_startup_trials": 1, "population_size": 4}
        space = space_of("a=range(1,4)", "b=range(1,4)")
        study = optuna.create_study(sampler=make_sampler(options, space, 1))
        assert len(suggest(study.ask(), space)) == 2


def test_a_choice_depends_on_seed_and_number_alone() -> None:
    seeds = {seed_of(seed, number) for seed in range(20) for number in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert best_of("tpe", 3, 12) == best_of("tpe", 3, 12)
    assert best_of("tpe", 3, 12) != best_of("tpe", 4, 12)


def test_cmaes_keeps_no_state_in_the_study() -> None:
    options = {"sampler": "cmaes", "seed": 1, "population_size": 4, "sampler_startup_trials": 1}
    study = optuna.create_study(sampler=make_sampler(options, QUADRATIC, 1))
    for _ in range(9):
        trial = study.ask()
        study.tell(trial, loss(suggest(trial, QUADRATIC)))
    assert not [trial for trial in study.trials if trial.system_attrs]


@pytest.mark.parametrize("texts", [["a=interval(0,1)"], ["a=interval(0,1)", "b=x,y"]])
def test_cmaes_needs_two_numbers(texts: list[str]) -> None:
    options = {"sampler": "cmaes", "seed": 1, "population_size": 4, "sampler_startup_trials": 1}
    with pytest.raises(ConfigError, match=r"two numbers and more; write sweep.sampler=tpe"):
        make_sampler(options, space_of(*texts), 1)


@pytest.mark.parametrize(
    "text",
    ["x=interval(-2,3)", "x=tag(log,interval(0.001,10))", "x=int(interval(1,9))", "x=range(0,9,3)"],
)
def test_places_in_the_unit_cube_are_values_and_back(text: str) -> None:
    found = parameter(text)
    assert from_unit(found, 0.0) == pytest.approx(found.low)
    assert from_unit(found, 1.0) == pytest.approx(found.high)
    for place in (0.0, 0.2, 0.77, 1.0):
        value = from_unit(found, place)
        assert from_unit(found, to_unit(found, value)) == pytest.approx(value)
        assert distance(found, value, place) <= 0.5


def distance(found: Parameter, value: float, place: float) -> float:
    """How many steps the value is from where it should be; of an interval, of 1e-9 of it."""
    steps = (found.high - found.low) / (found.step or 1) if found.step or found.is_int else 1e9
    return abs(to_unit(found, value) - place) * steps


def test_a_grid_has_every_combination_once() -> None:
    found = combinations(space_of("a=x,y", "b=range(0,3)"))
    assert [tuple(c.values()) for c in found] == [(a, b) for a in "xy" for b in range(3)]
    assert combinations(space_of("a=choice(x)")) == [{"a": "x"}]


def test_saved_time_is_what_a_finished_trial_takes_longer() -> None:
    saved, words = saved_time([(10.0, 5), (30.0, 5), (12.0, 4)], [(2.0, 2), (8.0, 1), (20.0, 3)])
    assert saved == (12.0 - 2.0) + (12.0 - 8.0)
    assert words.startswith("3 trials were stopped after 2.0 of 5 validations")
    assert saved_time([], [(1.0, 1)]) == (0.0, "")
    assert saved_time([(1.0, 1)], []) == (0.0, "")
