"""The whole life of a search: made-up learning curves, a clock that the test moves, and kill -9 at any step."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ternlab.core.errors import ExitCode
from ternlab.sweeps.plan import Plan, by_setting
from ternlab.sweeps.proposals import Outcome, Proposer, Tried
from ternlab.sweeps.settings import SearchSettings
from ternlab.sweeps.space import Point
from ternlab.sweeps.states import State, standing
from tests.sweeps.search_world import EPOCHS, KilledError, SearchWorld

LR = "optim.lr=tag(log,interval(1e-4,1e-1))"


def curve(point: dict[str, Any], epoch: int) -> float:
    """Return what is best at a rate of 0.01, and a little more for larger seeds."""
    distance = abs(math.log10(point.get("optim.lr", 0.05)) + 2)
    return round(90 - 20 * distance - 10 / epoch + point.get("seed", 0), 6)


def search(**settings: Any) -> SearchSettings:
    return SearchSettings.model_validate({"name": "optuna", "trials": 14, **settings})


def world_of(folder: Path, *typed: str, workers: int = 1, **settings: Any) -> SearchWorld:
    return SearchWorld(folder, curve, search(**settings), *(typed or (LR,)), workers=workers)


def states(world: SearchWorld) -> dict[str, State]:
    plan = world.plan
    return {trial.run_id: standing(world.runs, trial.run_id, plan.pruned).state for trial in plan.trials}


def best(plan: Plan, world: SearchWorld) -> float:
    return max(world.curve(trial.point, EPOCHS) or 0 for trial in plan.trials)


def test_tpe_tries_as_many_settings_as_wanted_each_with_all_seeds(tmp_path: Path) -> None:
    world = world_of(tmp_path, LR, "seed=0,1", workers=2, trials=16)
    progress = world.command()
    settings = by_setting(world.plan.trials)
    assert len(settings) == progress.settings == progress.wanted == 16
    assert all([trial.point["seed"] for trial in trials] == [0, 1] for trials in settings.values())
    assert progress.done == {trial.run_id for trial in world.plan.trials}
    assert len(world.started()) == 32
    # What it has learned: the proposals are nearer to the best rate than what was drawn before.
    distances = [abs(math.log10(trials[0].point["optim.lr"]) + 2) for trials in settings.values()]
    assert sum(distances[10:]) / 6 < sum(distances[:10]) / 10


def test_proposals_follow_the_results_and_plans_do_not_repeat_points(tmp_path: Path) -> None:
    good, bad = world_of(tmp_path / "a"), world_of(tmp_path / "b")
    bad.curve = lambda point, epoch: -curve(point, epoch)
    good.command()
    bad.command()
    first, second = ([trial.point for trial in world.plan.trials] for world in (good, bad))
    assert first[:10] == second[:10]
    assert first[10:] != second[10:]
    # A loss that is the mirror image leads to the same points as the accuracy.
    loss = world_of(tmp_path / "c", metric="val/loss")
    loss.curve = bad.curve
    loss.command()
    assert [trial.point for trial in loss.plan.trials] == first


def test_every_choice_of_a_small_space_is_tried_once(tmp_path: Path) -> None:
    world = world_of(tmp_path, "optim.lr=0.01,0.02,0.05,0.1", "optim.momentum=0.8,0.85,0.9,0.95", trials=40)
    progress = world.command()
    assert progress.settings == progress.wanted == 16
    assert len({json.dumps(trial.point) for trial in world.plan.trials}) == 16


def test_settings_that_make_the_same_run_end_the_search_and_do_not_hang_it(tmp_path: Path) -> None:
    world = world_of(tmp_path, "optim.lr=0.01,0.02", "trainer.progress=plain,rich,auto", "seed=0,1", trials=6)
    progress = world.command()
    assert progress.settings == progress.wanted == 2
    assert len(progress.done) == 4


@pytest.mark.parametrize(("workers", "parallel", "most"), [(4, None, 4), (4, 2, 2), (1, None, 1)])
def test_no_more_is_proposed_than_there_is_room_for(
    workers: int, parallel: int | None, most: int, tmp_path: Path
) -> None:
    world = world_of(tmp_path, workers=workers, trials=20, parallel=parallel)
    seen: list[int] = []
    look = world._look

    def count(progress: Any) -> None:
        look(progress)
        if progress.settings > 10:
            seen.append(progress.settings - len(progress.done))

    world._look = count  # type: ignore[method-assign]
    world.command()
    assert max(seen) == most
    assert len(world.plan.trials) == 20


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Tried]]:
    """What the proposer was told, at each proposal."""
    found: list[Sequence[Tried]] = []
    propose = Proposer.propose

    def listen(self: Proposer, tried: Sequence[Tried], number: int, attempt: int = 0) -> Point:
        found.append(list(tried))
        return propose(self, tried, number, attempt)

    monkeypatch.setattr(Proposer, "propose", listen)
    return found


def test_one_failed_seed_makes_a_setting_unknown_and_others_go_on(told: list[Sequence[Tried]], tmp_path: Path) -> None:
    world = world_of(tmp_path, LR, "seed=0,1", workers=2, trials=12, parallel=1)
    failed = world.planned().trials[3].run_id
    learn = world.learn

    def fail(run: str, epochs: int, asked: bool) -> int | None:
        return ExitCode.FAILED if run == failed else learn(run, epochs, asked)

    world.learn = fail  # type: ignore[method-assign]
    progress = world.command()
    assert progress.failed == {failed: ExitCode.FAILED}
    assert len(progress.done) == 23
    assert world.started().count(failed) == 2
    assert [one.outcome for one in told[-1]].count(Outcome.FAILED) == 1
    assert told[-1][1].outcome is Outcome.FAILED
    # The mean over both seeds, which are a point apart.
    first = world.plan.trials[0].point
    assert told[-1][0].value == curve(first, EPOCHS) + 0.5
    assert told[-1][0].by_epoch[1] == curve(first, 1) + 0.5


def test_diverged_settings_count_and_the_search_goes_on(told: list[Sequence[Tried]], tmp_path: Path) -> None:
    world = world_of(tmp_path, trials=16)
    world.curve = lambda point, epoch: None if point.get("optim.lr", 0) > 0.01 else curve(point, epoch)
    progress = world.command()
    assert progress.settings == 16
    assert set(progress.failed.values()) == {ExitCode.DIVERGED}
    assert len(progress.done) + len(progress.failed) == 16
    for one in told[-1]:
        assert one.outcome is (Outcome.DIVERGED if one.point["optim.lr"] > 0.01 else Outcome.REACHED)


def test_asha_stops_what_falls_behind_and_keeps_the_best(tmp_path: Path) -> None:
    world = world_of(tmp_path, LR, "seed=0,1", workers=4, name="asha", trials=12)
    progress = world.command()
    found = states(world)
    assert set(found.values()) == {State.FINISHED, State.PRUNED}
    assert progress.pruned == {run for run, state in found.items() if state is State.PRUNED} == set(world.plan.pruned)
    assert not progress.failed and not progress.waiting and not progress.running
    for trials in by_setting(world.plan.trials).values():
        assert len({found[trial.run_id] for trial in trials}) == 1, "the seeds of a setting end together"
    finished = [trial for trial in world.plan.trials if found[trial.run_id] is State.FINISHED]
    assert max(curve(trial.point, EPOCHS) for trial in finished) == best(world.plan, world)
    pruned = [world.epochs_of(run) for run in progress.pruned]
    assert max(pruned) < EPOCHS
    # Typed again, it starts nothing.
    before = len(world.started())
    again = world.command()
    assert len(world.started()) == before
    assert again.pruned == progress.pruned
    assert again.done == progress.done


def test_what_asha_stops_is_what_halving_by_hand_stops(tmp_path: Path) -> None:
    # All settings train side by side: each rung sees them in the order of the plan.
    world = world_of(tmp_path, workers=9, name="asha", trials=9, reduction_factor=2, min_epochs=1)
    world.command()
    alive = list(world.plan.trials)
    for epoch in (1, 2):
        here: list[float] = []
        going_on = []
        for trial in alive:
            value = curve(trial.point, epoch)
            here.append(value)
            if value in sorted(here, reverse=True)[: max(1, len(here) // 2)]:
                going_on.append(trial)
        alive = going_on
    assert set(world.plan.pruned) == {trial.run_id for trial in world.plan.trials} - {trial.run_id for trial in alive}


def test_every_setting_gets_its_first_epochs(tmp_path: Path) -> None:
    world = world_of(tmp_path, workers=3, name="asha", trials=12, min_epochs=3)
    progress = world.command()
    assert progress.pruned
    assert {world.epochs_of(run) for run in progress.pruned} == {3}


def test_nobody_is_stopped_in_the_last_epoch_of_which_only_the_end_is_left(tmp_path: Path) -> None:
    progress = world_of(tmp_path, workers=4, name="asha", trials=8, min_epochs=EPOCHS).command()
    assert not progress.pruned
    assert len(progress.done) == 8


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
@pytest.mark.parametrize("name", ["random", "optuna"])
def test_pruners_go_with_both_kinds_of_proposals(name: str, pruner: str, tmp_path: Path) -> None:
    world = world_of(tmp_path, workers=2, name=name, trials=20, pruner=pruner)
    progress = world.command()
    assert progress.pruned
    assert len(progress.done) + len(progress.pruned) == progress.settings == 20
    finished = [trial for trial in world.plan.trials if trial.run_id in progress.done]
    assert max(curve(trial.point, EPOCHS) for trial in finished) == best(world.plan, world)


def test_a_setting_that_is_the_baseline_of_others_is_never_stopped(tmp_path: Path) -> None:
    # The runs in full precision are the worst and are needed all the same.
    world = SearchWorld(
        tmp_path,
        lambda point, epoch: 50.0 + epoch + 10 * (point.get("quant") != "none") + point.get("model.dropout", 0),
        search(name="asha", trials=6, reduction_factor=2),
        "quant=none,tga,twn",
        "model.dropout=0.1,0.2",
        workers=2,
    )
    progress = world.command()
    needed = {trial.baseline for trial in world.plan.trials if trial.baseline}
    assert needed <= progress.done
    assert len(progress.done) + len(progress.pruned) == len(world.plan.configs)


def test_a_larger_number_of_trials_goes_on_with_the_same_search(tmp_path: Path) -> None:
    for name in ("optuna", "asha"):
        world = world_of(tmp_path / name, name=name, trials=4, workers=2)
        world.command()
        first = world.plan
        world.search = search(name=name, trials=13)
        progress = world.command()
        assert world.plan.sweep_id == first.sweep_id
        assert world.plan.trials[:4] == first.trials
        assert progress.settings == progress.wanted == 13
        runs = world.started()
        assert len(runs) == len(set(runs)) == 13
        # Fewer: what is there stays.
        world.search = search(name=name, trials=2)
        assert world.command().settings == 13
        assert len(world.started()) == 13


def killed(world: SearchWorld, after: int) -> bool:
    """Type the command and kill it after some steps; return whether it ended by itself before."""
    with contextlib.suppress(KilledError):
        world.command(kill_after=after)
        return True
    return False


def check_whole(world: SearchWorld, trials: int) -> None:
    progress = world.command()
    plan = world.plan
    assert len(by_setting(plan.trials)) == progress.settings == trials
    assert set(states(world).values()) <= {State.FINISHED, State.PRUNED}
    assert progress.done | progress.pruned == set(plan.configs)
    assert not progress.done & progress.pruned
    for run in progress.done:
        assert world.epochs_of(run) == EPOCHS
    for run in progress.pruned:
        assert world.epochs_of(run) < EPOCHS


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SearchWorld:
    """A search that nobody killed."""
    world = world_of(tmp_path_factory.mktemp("whole"), trials=12)
    world.command()
    return world


@pytest.mark.parametrize("after", range(1, 160, 12))
def test_killed_at_any_step_one_worker_ends_with_the_same_plan(after: int, whole: SearchWorld, tmp_path: Path) -> None:
    world = world_of(tmp_path, trials=12)
    killed(world, after)
    check_whole(world, 12)
    assert world.plan.trials == whole.plan.trials


@pytest.mark.parametrize("name", ["asha", "optuna", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_it_ends_with_exactly_as_many_settings(name: str, seed: int, tmp_path: Path) -> None:
    pruner = "none" if name == "asha" else "median"
    world = world_of(tmp_path, LR, "seed=0,1", name=name, trials=12, workers=3, pruner=pruner)
    random = Random(seed)
    lives = 0
    pruned: set[str] = set()
    while lives < 40 and not killed(world, random.randint(1, 60)):
        lives += 1
        # A verdict that is on the disk is final.
        assert pruned <= world.plan.pruned
        pruned = set(world.plan.pruned)
    assert lives > 2
    check_whole(world, 12)
    # Nobody starts again what was stopped.
    assert pruned <= world.plan.pruned


def test_what_was_pruned_when_the_launcher_was_killed_is_not_started_again(tmp_path: Path) -> None:
    world = world_of(tmp_path, name="asha", trials=8, workers=4)
    steps = next(
        after
        for after in range(1, 500)
        if _pruned_after(world_of(tmp_path / str(after), name="asha", trials=8, workers=4), after)
    )
    assert not killed(world, steps)
    behind = set(world.plan.pruned)
    assert behind
    assert all(standing(world.runs, run).state is State.STOPPED for run in behind)
    assert {states(world)[run] for run in behind} == {State.PRUNED}
    before = len(world.started())
    world.command()
    assert not behind & set(world.started()[before:])


def _pruned_after(world: SearchWorld, after: int) -> bool:
    return not killed(world, after) and bool(world.plan.pruned)
