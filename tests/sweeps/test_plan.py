"""The plan: frozen, named by its trials, and cheap."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError, StorageError
from ternlab.runs.directory import run_directory
from ternlab.runs.identity import run_id
from ternlab.settings.load import twin_of
from ternlab.sweeps.plan import merged, plan_file, read_plan, write_plan
from ternlab.sweeps.planner import Composed, make_plan
from ternlab.sweeps.space import space_of
from tests.settings_for_tests import tiny_settings
from tests.sweeps.made import compose_in, plan_of, plan_with_depth, write_status

GOLDEN = Path(__file__).parent / "golden"


def test_every_trial_has_the_id_of_its_frozen_settings_and_baselines_are_listed_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "quant=tga,twn", "seed=0,1")
    assert len(plan.trials) == 4
    assert len(plan.baselines) == 2
    for trial in plan.trials:
        settings = plan.settings(trial.run_id)
        assert run_id(settings) == trial.run_id
        assert settings.seed == trial.point["seed"]
        assert settings.quant.name == trial.point["quant"]
        assert trial.baseline == run_id(twin_of(settings))
        assert trial.baseline in plan.baselines
    for baseline in plan.baselines:
        assert run_id(plan.settings(baseline)) == baseline
        assert not plan.settings(baseline).quant.active


def test_a_baseline_that_is_a_trial_is_not_listed_beside(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "quant=tga,none", "seed=0")
    assert plan.baselines == ()
    assert plan.trials[0].baseline == plan.trials[1].run_id
    assert plan.trials[1].baseline is None


def test_points_that_make_the_same_run_are_one_trial(tmp_path: Path) -> None:
    # What is shown cannot change the result.
    plan = plan_of(tmp_path, "trainer.progress=plain,rich", "seed=0,1")
    assert len(plan.trials) == 2


def test_the_command_of_a_trial_is_what_was_typed_with_one_value_of_each_axis(tmp_path: Path) -> None:
    space = space_of(["model.dropout=0.2", "seed=0,1"])
    plan = make_plan(space, compose_in(tmp_path), {"quant"}.__contains__, "", ("--config-dir", "my folder"))
    assert plan.trials[1].command == "python src/train.py --config-dir 'my folder' model.dropout=0.2 seed=1"


def test_the_id_is_of_the_trials_alone(tmp_path: Path) -> None:
    first = plan_of(tmp_path, "seed=0,1", "optim.lr=0.1,0.2")
    assert plan_of(tmp_path, "optim.lr=0.2,0.1", "seed=1,0").sweep_id == first.sweep_id
    more = plan_of(tmp_path, "seed=0,1,2", "optim.lr=0.1,0.2")
    assert more.sweep_id != first.sweep_id
    assert {trial.run_id for trial in first.trials} < {trial.run_id for trial in more.trials}


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "quant=tga,twn,none", "seed=0,1", "optim.lr=0.1,0.2")
    found = read_plan(write_plan(plan, tmp_path))
    assert replace(found, configs=dict(found.configs)) == replace(plan, configs=dict(found.configs))
    assert dict(found.configs) == json.loads(json.dumps(dict(plan.configs)))
    assert len(found.configs) == len(plan.configs) == 12
    for run in plan.configs:
        assert found.settings(run) == plan.settings(run)


def test_all_that_trials_need_at_any_depth_is_in_the_plan_once(tmp_path: Path) -> None:
    plan = plan_with_depth(tmp_path, "quant.threshold.init=0.02,0.05")
    assert list(plan.roles.values()) == ["root", "left", "right", "baseline"]
    root, left, right, baseline = plan.needed
    assert plan.baselines == (baseline,)
    assert plan.needs == {
        left: {root: "root"},
        right: {root: "root"},
        baseline: {left: "left", right: "right"},
        **{trial.run_id: {baseline: "baseline"} for trial in plan.trials},
    }
    assert plan.run_ids == (*plan.needed, *(trial.run_id for trial in plan.trials))
    assert all(run_id(plan.settings(run)) == run for run in plan.run_ids)
    found = read_plan(write_plan(plan, tmp_path))
    assert (found.needed, found.needs, found.roles) == (plan.needed, plan.needs, plan.roles)


def test_a_plan_of_before_there_were_other_needs_than_baselines_is_read(tmp_path: Path) -> None:
    plan_file(tmp_path).write_text((GOLDEN / "plan_version_2.json").read_text())
    plan = read_plan(plan_file(tmp_path))
    first, second = plan.trials
    assert plan.needed == plan.baselines == (first.baseline, second.baseline)
    assert plan.needs == {trial.run_id: {trial.baseline: "baseline"} for trial in plan.trials}
    assert all(run_id(plan.settings(run)) == run for run in plan.run_ids)
    # The same command makes the same plan, and goes on with that one.
    now = plan_of(Path("logs/runs"), "quant=tga", "seed=0,1")
    assert now.sweep_id == plan.sweep_id
    whole = merged(plan, now)
    assert (whole.trials, whole.needed, whole.needs) == (now.trials, now.needed, now.needs)


def test_a_baseline_that_was_named_is_no_run_of_the_plan(tmp_path: Path) -> None:
    other = plan_of(tmp_path, "quant=none", "seed=0", "optim.lr=0.3").trials[0].run_id
    changes = {"baseline__run": other[-10:]}
    with pytest.raises(SettingsError, match=r"(?s)^baseline\.run.*there is no such run"):
        plan_of(tmp_path, "quant=tga", "seed=0", **changes)
    directory = run_directory(tmp_path, other)
    write_status(tmp_path, other, "finished")
    directory.write_settings(tiny_settings(tmp_path, quant={"name": "none"}, optim__lr=0.3))
    plan = plan_of(tmp_path, "quant=tga", "seed=0", **changes)
    assert (plan.needed, plan.needs) == ((), {})
    assert plan.trials[0].baseline == other


def test_settings_with_dots_in_their_names_and_empty_ones_survive(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "seed=0,1")
    run = plan.trials[0].run_id
    config = {**plan.configs[run], "own": {"layer1.0": {"a": 1}}, "nothing": {}}
    plan = replace(plan, configs={**plan.configs, run: config})
    assert read_plan(write_plan(plan, tmp_path)).configs[run] == config


def test_hydra_is_asked_once_for_each_choice_of_groups(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def compose(words: list[str]) -> Composed:
        asked.append(words)
        found: Composed = compose_in(tmp_path)(words)
        return found

    space = space_of(["quant=tga,twn", "seed=0,1,2", "optim.lr=0.1,0.2"])
    plan = make_plan(space, compose, {"quant"}.__contains__, "")
    assert len(plan.trials) == 12
    assert [words[0] for words in asked] == ["quant=tga", "quant=twn"]


def test_values_that_others_are_taken_from_are_composed_by_hydra_itself(tmp_path: Path) -> None:
    def compose(words: list[str]) -> Composed:
        config = compose_in(tmp_path)(words).config
        config["optim"]["weight_decay"] = config["optim"]["lr"] / 10
        return Composed(config, linked=True)

    plan = make_plan(space_of(["optim.lr=0.1,0.2"]), compose, {"quant"}.__contains__, "")
    assert [plan.settings(trial.run_id).optim.weight_decay for trial in plan.trials] == [0.01, 0.02]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("optim.lr=0.1,-1,0.2", "seed=0,1"), ["optim.lr", "greater than 0", "at: optim.lr=-1 seed=0"]),
        (("seed=0,x",), ["seed", "at: seed=x"]),
        (("optim.lrr=0.1,0.2",), ["optim.lrr", "lr"]),
        (("quant=tga,tgaa",), ["tgaa", "tga"]),
        (("force=true,false",), ["force", "resumes from"]),
    ],
)
def test_a_point_that_cannot_be_trained_is_named(typed: tuple[str, ...], says: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        plan_of(tmp_path, *typed)
    assert all(words in str(error.value) for words in says), str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_the_recipe_of_the_baseline_is_found_by_the_plan(tmp_path: Path) -> None:
    def compose(words: list[str]) -> Composed:
        config: dict[str, Any] = compose_in(tmp_path)(words).config
        return Composed({**config, "baseline": {"overrides": ["optim.lr=-1"]}})

    with pytest.raises(SettingsError, match=r"(?s)optim\.lr.*at: seed=0"):
        make_plan(space_of(["seed=0,1"]), compose, {"quant"}.__contains__, "")


def test_plans_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such sweep"):
        read_plan(plan_file(tmp_path))
    plan_file(tmp_path).write_text("{")
    with pytest.raises(StorageError, match="not a readable plan"):
        read_plan(plan_file(tmp_path))
    plan_file(tmp_path).write_text('{"plan_version": 99}')
    with pytest.raises(StorageError, match="another version"):
        read_plan(plan_file(tmp_path))
