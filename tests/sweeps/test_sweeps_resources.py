"""Cores and GPUs are shared out among the jobs that run side by side."""

from __future__ import annotations

import pytest

from seqloom.errors import ConfigError
from seqloom.sweeps import resources
from seqloom.sweeps.resources import Slots


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "num_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def environments(slots: Slots) -> list[dict[str, str]]:
    taken = [slot for _ in range(slots.count) if (slot := slots.take()) is not None]
    assert slots.take() is None
    return [dict(slots.environment(slot)) for slot in taken]


@pytest.mark.parametrize(("num_parallel", "threads"), [(1, 8), (2, 4), (3, 2), (20, 1)])
def test_cores_are_shared_out(num_parallel: int, threads: int) -> None:
    for found in environments(Slots(num_parallel)):
        assert found == {"OMP_NUM_THREADS": str(threads)}


def test_what_the_user_set_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environments(Slots(2)) == [{"OMP_NUM_THREADS": "5"}] * 2
    assert environments(Slots(1, cores_per_job=3)) == [{"OMP_NUM_THREADS": "3"}]


@pytest.mark.parametrize(
    ("visible", "num_parallel", "per_job", "expected"),
    [
        ("0,1,2,3", 2, None, ["0,1", "2,3"]),
        ("4,5", 2, None, ["4", "5"]),
        ("0,1,2", 2, None, ["0", "1"]),
        ("0", 3, None, ["0", "0", "0"]),
        ("0,1", 3, None, ["0", "1", "0"]),
        ("GPU-aa,GPU-bb", 1, 2, ["GPU-aa,GPU-bb"]),
        ("0,1", 1, 0, [""]),
    ],
)
def test_gpus_are_shared_out(
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    num_parallel: int,
    per_job: int | None,
    expected: list[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = environments(Slots(num_parallel, gpus_per_job=per_job))
    assert [item["CUDA_VISIBLE_DEVICES"] for item in found] == expected


def test_a_place_is_given_back() -> None:
    slots = Slots(2)
    assert (slots.take(), slots.take(), slots.take()) == (0, 1, None)
    slots.give_back(0)
    assert (slots.take(), slots.take()) == (0, None)


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert resources.visible_gpus() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, None, None), r"launcher\.num_parallel=0: is too few"),
        ((1, 0, None), r"launcher\.cores_per_job=0: is too few"),
        ((2, None, 1), r"launcher\.gpus_per_job=1: 2 jobs need 2, and 0 are there"),
    ],
)
def test_what_is_not_there_cannot_be_shared(
    arguments: tuple[int, int | None, int | None], message: str
) -> None:
    num_parallel, cores, gpus = arguments
    with pytest.raises(ConfigError, match=message):
        Slots(num_parallel, cores_per_job=cores, gpus_per_job=gpus)
