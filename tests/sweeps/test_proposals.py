"""What TPE proposes: the same as Optuna used directly, and away from what was bad."""

from __future__ import annotations

from random import Random
from typing import Any

import optuna
import pytest

from ternlab.sweeps.points import drawn
from ternlab.sweeps.proposals import Outcome, Proposer, Tried
from ternlab.sweeps.settings import SearchSettings
from ternlab.sweeps.space import space_of

SEARCH = SearchSettings(name="optuna", trials=40, seed=5)
SPACE = space_of(
    ["optim.lr=tag(log,interval(1e-4,1e-1))", "quant=tga,twn,sws", "n=range(0,10)", "m=int(interval(2,9))"],
    intervals=True,
)


def quality(point: dict[str, Any]) -> float:
    return 10 * (point["quant"] == "twn") + point["n"] - abs(point["optim.lr"] - 0.01) * 100


def tried(count: int) -> list[Tried]:
    points = [dict(point) for _, point in zip(range(count), drawn(SPACE, 1), strict=False)]
    return [Tried(point, Outcome.REACHED, quality(point)) for point in points]


def test_it_proposes_what_optuna_does_by_itself() -> None:
    past = tried(20)
    point = dict(Proposer(SPACE, SEARCH).propose(past, 20))
    d = optuna.distributions
    space = {
        "optim.lr": d.FloatDistribution(1e-4, 1e-1, log=True),
        "quant": d.CategoricalDistribution((0, 1, 2)),
        "n": d.IntDistribution(0, 9),
        "m": d.IntDistribution(2, 9),
    }
    seed = Random("5/20/0").getrandbits(32)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=10, multivariate=True, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for one in past:
        params = {**one.point, "quant": ["tga", "twn", "sws"].index(one.point["quant"])}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=one.value))
    expected = study.ask(space).params
    assert point["quant"] == ["tga", "twn", "sws"][expected["quant"]]
    assert (point["n"], point["m"]) == (expected["n"], expected["m"])
    assert point["optim.lr"] == pytest.approx(expected["optim.lr"], rel=1e-4)
    assert float(repr(point["optim.lr"])) == point["optim.lr"]


def test_the_same_past_gives_the_same_point_and_another_attempt_another_one() -> None:
    past = tried(15)
    first = Proposer(SPACE, SEARCH).propose(past, 15)
    assert Proposer(SPACE, SEARCH).propose(past, 15) == first
    assert Proposer(SPACE, SEARCH).propose(past, 15, attempt=1) != first
    assert Proposer(SPACE, SearchSettings(name="optuna", trials=40, seed=6)).propose(past, 15) != first


def test_it_goes_where_the_metric_is_good_whichever_way_that_is() -> None:
    past = tried(40)
    points = [dict(Proposer(SPACE, SEARCH).propose(past, number)) for number in range(40, 60)]
    assert sum(point["quant"] == "twn" for point in points) >= 15
    loss = SearchSettings(name="optuna", trials=40, metric="val/loss")
    points = [dict(Proposer(SPACE, loss).propose(past, number)) for number in range(40, 60)]
    assert sum(point["quant"] == "twn" for point in points) <= 5


@pytest.mark.parametrize(("outcome", "steers"), [(Outcome.DIVERGED, True), (Outcome.FAILED, False)])
def test_a_diverged_setting_steers_away_and_a_failed_one_says_nothing(outcome: Outcome, steers: bool) -> None:
    space = space_of(["optim.lr=interval(0,1)"], intervals=True)
    # Nothing speaks for one half; in the other one all have ended without a value.
    fine = [Tried({"optim.lr": 0.02 * number}, Outcome.REACHED, 50.0) for number in range(25)]
    ended = [Tried({"optim.lr": 0.5 + 0.02 * number}, outcome, by_epoch={1: 99.0}) for number in range(25)]
    points = [dict(Proposer(space, SEARCH).propose([*fine, *ended], number))["optim.lr"] for number in range(40)]
    without = [dict(Proposer(space, SEARCH).propose(fine, number))["optim.lr"] for number in range(40)]
    assert (points == without) == (not steers)
    if steers:
        assert sum(point > 0.5 for point in points) < sum(point > 0.5 for point in without)


def test_settings_that_train_are_kept_away_from() -> None:
    space = space_of(["optim.lr=interval(0,1)"], intervals=True)
    past = [Tried({"optim.lr": 0.05 * number}, Outcome.REACHED, -abs(0.05 * number - 0.5)) for number in range(20)]
    points = [dict(Proposer(space, SEARCH).propose(past, number)) for number in range(20)]
    best = [Tried({"optim.lr": 0.5 + 0.001 * number}, Outcome.OPEN) for number in range(20)]
    avoided = [dict(Proposer(space, SEARCH).propose([*past, *best], number)) for number in range(20)]

    def near(found: list[dict[str, Any]]) -> int:
        return sum(abs(point["optim.lr"] - 0.51) < 0.02 for point in found)

    assert near(avoided) < near(points)


def test_lists_and_mappings_can_be_choices() -> None:
    space = space_of(["a=[1,2],{x:1},null", "b=1,true"], intervals=True)
    past = [Tried(dict(point), Outcome.REACHED, 1.0) for point in drawn(space, 0)]
    assert len(past) == 6
    point = dict(Proposer(space, SEARCH).propose(past * 3, 18))
    assert point["a"] in ([1, 2], {"x": 1}, None)
    assert repr(point["b"]) in ("1", "True")
