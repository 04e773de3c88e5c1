"""The plan of a search: what is in it before the first run, its id, and what is refused."""

from __future__ import annotations

import importlib.util
import logging
import shlex
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError
from ternlab.runs.identity import run_id
from ternlab.settings.load import settings_from_config
from ternlab.sweeps.plan import Plan, by_setting, merged, read_plan, write_plan
from ternlab.sweeps.planner import Composed, make_plan
from ternlab.sweeps.search_plan import make_search_plan, search_plan_of
from ternlab.sweeps.search_source import source_of
from ternlab.sweeps.settings import SearchSettings, sweep_settings
from ternlab.sweeps.space import space_of
from tests.sweeps.made import compose_in

SPACE = ("optim.lr=tag(log,interval(1e-4,1e-1))", "quant.threshold.init=interval(0.02,0.2)", "seed=0,1,2")
GROUPS = {"quant"}.__contains__


def planned(runs: Path, *typed: str, **search: Any) -> Plan:
    settings = SearchSettings.model_validate({"name": "random", "trials": 5, **search})
    space = space_of(typed or SPACE, intervals=True)
    return make_search_plan(space, settings, compose_in(runs), GROUPS, "python sweeps/launch.py")


def test_every_setting_has_all_its_seeds_and_its_baselines(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    settings = by_setting(plan.trials)
    assert len(settings) == 5
    for trials in settings.values():
        assert [trial.point["seed"] for trial in trials] == [0, 1, 2]
        for trial in trials:
            assert 1e-4 <= trial.point["optim.lr"] <= 1e-1
            assert 0.02 <= trial.point["quant.threshold.init"] <= 0.2
            assert plan.settings(trial.run_id).optim.lr == trial.point["optim.lr"]
    # The rate is the baselines' too, the threshold is not.
    assert len(plan.baselines) == 15
    assert len(planned(tmp_path, *SPACE[1:]).baselines) == 3


def test_the_command_of_a_drawn_trial_makes_the_same_run(tmp_path: Path) -> None:
    for trial in planned(tmp_path).trials:
        words = shlex.split(trial.command)[2:]
        assert run_id(settings_from_config(compose_in(tmp_path)(words).config)) == trial.run_id


def test_more_trials_begin_with_the_same_ones(tmp_path: Path) -> None:
    few, many = planned(tmp_path), planned(tmp_path, trials=9)
    assert many.trials[: len(few.trials)] == few.trials
    assert planned(tmp_path, seed=1).trials[0].point != few.trials[0].point


def test_the_id_of_a_complete_plan_is_of_its_trials_and_that_of_a_search_of_what_it_goes_through(
    tmp_path: Path,
) -> None:
    choices = ("optim.lr=0.1,0.2", "quant=tga,twn", "seed=0,1")
    grid = make_plan(space_of(choices), compose_in(tmp_path), GROUPS, "")
    assert planned(tmp_path, *choices, trials=4).sweep_id == grid.sweep_id
    assert planned(tmp_path, trials=6).sweep_id != planned(tmp_path).sweep_id
    for name in ("asha", "optuna"):
        first = planned(tmp_path, name=name).sweep_id
        assert planned(tmp_path, name=name, trials=50, parallel=3).sweep_id == first
        others = [
            planned(tmp_path, name=name, seed=1),
            planned(tmp_path, name=name, min_epochs=2),
            planned(tmp_path, name=name, metric="val/loss"),
            planned(tmp_path, SPACE[0], name=name),
            planned(tmp_path, *SPACE[:2], "seed=0,1", name=name),
            planned(tmp_path, *SPACE, "model.dropout=0.1", name=name),
            planned(tmp_path, SPACE[0].replace("1e-4", "1e-3"), *SPACE[1:], name=name),
        ]
        assert len({first, *(other.sweep_id for other in others)}) == 8
        # What cannot change a result is not in it.
        assert planned(tmp_path, *SPACE, "trainer.progress=plain", name=name).sweep_id == first


def test_a_search_begins_with_as_many_settings_as_need_no_result(tmp_path: Path) -> None:
    assert len(by_setting(planned(tmp_path, name="asha", trials=25).trials)) == 25
    assert len(by_setting(planned(tmp_path, name="optuna", trials=25).trials)) == 10
    assert len(by_setting(planned(tmp_path, name="optuna", trials=4).trials)) == 4


def test_a_plan_with_its_search_is_read_as_it_was_written_and_merged_with_a_larger_one(tmp_path: Path) -> None:
    plan = planned(tmp_path, "model.dropout=0.1,0.2", "data.limit_train=96,null", *SPACE, name="asha", trials=3)
    found = read_plan(write_plan(plan, tmp_path))
    assert found.search == plan.search
    assert search_plan_of(found) == search_plan_of(plan)
    assert merged(found, plan) == found
    larger = planned(tmp_path, "model.dropout=0.1,0.2", "data.limit_train=96,null", *SPACE, name="asha", trials=6)
    whole = merged(found, larger)
    assert whole.trials == larger.trials
    assert set(whole.baselines) == set(larger.baselines)
    assert set(whole.configs) == set(larger.configs)
    assert whole.sweep_id == plan.sweep_id
    # Fewer than there are already: what is planned stays planned.
    assert merged(whole, plan).trials == larger.trials


def test_hydra_is_asked_once_for_each_choice_of_groups(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def compose(words: list[str]) -> Composed:
        asked.append(words)
        found: Composed = compose_in(tmp_path)(words)
        return found

    space = space_of(["quant=tga,sws", "optim.lr=interval(0.01,0.1)", "seed=0,1"], intervals=True)
    make_search_plan(space, SearchSettings(name="asha", trials=20), compose, GROUPS, "")
    assert sorted(words[0] for words in asked) == ["quant=sws", "quant=tga"]


def test_plain_random_search_needs_no_optuna_and_nobody_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    plan = planned(tmp_path)
    assert source_of(plan, tmp_path, tmp_path) is None
    for search in ({"name": "asha"}, {"name": "optuna"}, {"pruner": "median"}):
        with pytest.raises(SettingsError, match=r"needs Optuna\n  instead: pip install 'ternlab\[sweeps\]'"):
            planned(tmp_path, **search)


def test_a_finite_space_has_no_more_settings_than_points(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        plan = planned(tmp_path, "optim.lr=0.1,0.2", "quant=tga,twn", "seed=0,1", name="optuna", trials=40)
    assert len(by_setting(plan.trials)) == 4
    assert [record.getMessage() for record in caplog.records] == [
        "search.trials=40: the space has only 4 points; all of them will be tried"
    ]


REFUSED: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "nothing but seeds": (("seed=0,1",), ["search = asha", "the search space is empty", "interval"]),
    "no axis": (("optim.lr=0.1",), ["the search space is empty"]),
    "an end that is refused": (("optim.lr=interval(-1,1)",), ["optim.lr = -1", "at: optim.lr=-1"]),
    "the other end": (("optim.momentum=interval(0.5,1.5)",), ["optim.momentum = 1.5", "at: optim.momentum=1.5"]),
    "a choice that is refused": (("optim.lr=0.1,-2", "quant=tga,twn"), ["optim.lr = -2", "at: "]),
    "a choice that has no such setting": (("quant=tga,tgaa",), ["tgaa"]),
    "no validation": (("data.val_fraction=0", "optim.lr=0.1,0.2"), ["data.val_fraction = 0", "search=grid"]),
    "no validation at a corner": (("data.val_fraction=0,0.1",), ["data.val_fraction = 0", "at: data.val_fraction=0"]),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_searched_is_refused_before_anything_is_written(case: str, tmp_path: Path) -> None:
    typed, says = REFUSED[case]
    with pytest.raises(SettingsError) as error:
        planned(tmp_path, *typed, name="asha", trials=1)
    assert all(words in str(error.value) for words in says), str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"trials": 5}, ["search.trials = 5", "every point", "search=random search.trials=5"]),
        ({"name": "optuna"}, ["search.trials", "the number of settings"]),
        ({"name": "random", "trials": 0}, ["search.trials = 0"]),
        (
            {"name": "asha", "trials": 5, "pruner": "median"},
            ["search.pruner = median", "already stops settings early", "search=random"],
        ),
        ({"pruner": "median"}, ["search.pruner = median", "every point"]),
        ({"name": "random", "trials": 5, "metric": "test/top1"}, ["search.metric = test/top1", "val/top1"]),
        ({"name": "asha", "trials": 5, "reduction_factor": 1}, ["search.reduction_factor"]),
    ],
)
def test_settings_that_belong_to_another_search_are_refused(search: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        sweep_settings({"search": search})
    assert all(words in str(error.value) for words in says), str(error.value)


def test_a_search_without_hydra_says_what_to_type(tmp_path: Path) -> None:
    # The plan of `sweep=ID`, whose settings are taken from one another: only Hydra can make new ones.
    plan = planned(tmp_path, name="optuna", trials=12)
    assert plan.search is not None
    for one in plan.search["composed"]:
        one["linked"] = True
    source = source_of(plan, write_plan(plan, tmp_path), tmp_path)
    assert source is not None
    from ternlab.sweeps.progress import Progress

    with pytest.raises(SettingsError, match="need the configuration"):
        source.more(Progress([]), 3)
