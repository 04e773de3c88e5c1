"""Who has fallen behind: Optuna's pruners against the rules written out."""

from __future__ import annotations

import statistics
from random import Random

import pytest

from ternlab.sweeps.pruning import Judge
from ternlab.sweeps.settings import SearchSettings

ASHA = SearchSettings(name="asha", trials=9)


def halving(table: dict[int, list[float]], first: int, factor: int, *, largest: bool) -> dict[int, int]:
    """Return the epoch at which each setting of a table is stopped, when all train at the same pace, in order.

    At a rung a setting goes on when it is among the best one in `factor` of those that have come there, or the best.
    """
    arrived: dict[int, list[float]] = {}
    stopped: dict[int, int] = {}
    for epoch in range(1, len(table[0]) + 1):
        for number, values in table.items():
            rungs = [rung for rung in range(20) if first * factor**rung == epoch]
            if number in stopped or not rungs:
                continue
            here = arrived.setdefault(rungs[0], [])
            here.append(values[epoch - 1])
            better = sorted(here, reverse=largest)[: max(1, len(here) // factor)]
            if values[epoch - 1] not in better:
                stopped[number] = epoch
    return stopped


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("first", "factor", "metric"), [(1, 3, "val/top1"), (2, 2, "val/loss"), (1, 2, "val/top1")])
def test_successive_halving_by_brute_force(seed: int, first: int, factor: int, metric: str) -> None:
    random = Random(seed)
    table = {number: [random.random() for _ in range(9)] for number in range(12)}
    search = SearchSettings.model_validate(
        {"name": "asha", "trials": 12, "min_epochs": first, "reduction_factor": factor, "metric": metric}
    )
    judge = Judge(search, "sweep-x", 9)
    stopped: dict[int, int] = {}
    for epoch in range(1, 10):
        for number, values in table.items():
            if number not in stopped and judge.behind({number: {epoch: values[epoch - 1]}}):
                stopped[number] = epoch
    assert stopped == halving(table, first, factor, largest=metric == "val/top1")
    assert stopped, "nothing was stopped, so nothing was compared"


def test_values_that_come_at_once_are_heard_epoch_by_epoch() -> None:
    random = Random(3)
    table = {number: [random.random() for _ in range(3)] for number in range(9)}
    judge = Judge(ASHA, "sweep-x", 27)
    found = judge.behind({number: dict(enumerate(values, 1)) for number, values in table.items()})
    # All are at their third epoch: the verdict is that of the rung there, over all who have come so far.
    here: list[float] = []
    expected = set()
    for number, values in table.items():
        here.append(values[2])
        if values[2] not in sorted(here, reverse=True)[: max(1, len(here) // 3)]:
            expected.add(number)
    assert found == expected
    assert judge.behind({number: dict(enumerate(values, 1)) for number, values in table.items()}) == set()


def test_the_median_of_finished_settings_counts_after_the_first_epochs() -> None:
    search = SearchSettings(name="random", trials=9, pruner="median", min_epochs=2)
    judge = Judge(search, "sweep-x", 5)
    ends = [10.0, 20.0, 30.0, 40.0, 50.0]
    for number, value in enumerate(ends):
        assert judge.behind({number: dict.fromkeys(range(1, 6), value)}) == set()
        judge.end(number, value)
    assert statistics.median(ends) == 30
    assert judge.behind({5: {1: 0.0}, 6: {1: 31.0}}) == set()
    assert judge.behind({5: {2: 29.0}, 6: {2: 31.0}}) == {5}


def test_hyperband_leaves_some_settings_alone_for_longer() -> None:
    search = SearchSettings(name="random", trials=9, pruner="hyperband")
    judge = Judge(search, "sweep-x", 9)
    at_once = judge.behind({number: {1: float(-number)} for number in range(40)})
    assert 0 < len(at_once) < 38
    later = judge.behind({number: {9: float(-number)} for number in range(40) if number not in at_once})
    assert later
