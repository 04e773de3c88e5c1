"""The learning rate's factor as a function of the step."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ternlab.optimizers.settings import ScheduleSettings
from ternlab.training.schedule import factor


def schedule(**values: Any) -> ScheduleSettings:
    return ScheduleSettings.model_validate({"name": "constant", "warmup_epochs": 0, **values})


def test_constant_is_one_everywhere() -> None:
    assert [factor(schedule(), step, 7, 3) for step in range(30)] == [1.0] * 30


def test_each_milestone_multiplies_by_its_own_factor_from_its_first_step() -> None:
    found = schedule(name="step", milestones=[2, 3, 5], factors=[0.2, 0.1, 0.5])
    expected = {0: 1.0, 19: 1.0, 20: 0.2, 29: 0.2, 30: 0.02, 49: 0.02, 50: 0.01, 1000: 0.01}
    assert {step: factor(found, step, 10, 6) for step in expected} == pytest.approx(expected)


def test_a_single_factor_serves_every_milestone() -> None:
    single = schedule(name="step", milestones=[1, 2, 3], factors=[0.1])
    each = schedule(name="step", milestones=[1, 2, 3], factors=[0.1, 0.1, 0.1])
    steps = range(40)
    assert [factor(single, step, 9, 4) for step in steps] == [factor(each, step, 9, 4) for step in steps]
    assert factor(single, 27, 9, 4) == pytest.approx(1e-3)


def test_milestones_between_epochs_count_from_the_step_that_reaches_them() -> None:
    found = schedule(name="step", milestones=[0.5], factors=[0.1])
    assert [factor(found, step, 5, 2) for step in (2, 3)] == pytest.approx([1.0, 0.1])


def test_milestone_factors_do_not_depend_on_the_length_of_the_training() -> None:
    found = schedule(name="step", milestones=[1, 4], factors=[0.1])
    assert [factor(found, step, 5, 2) for step in range(40)] == [factor(found, step, 5, 200) for step in range(40)]


@pytest.mark.parametrize("name", ["constant", "cosine"])
@pytest.mark.parametrize("warmup", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_warm_up_rises_in_even_steps_from_above_zero_and_ends_without_a_jump(
    name: str, warmup: float, steps: int
) -> None:
    found = schedule(name=name, warmup_epochs=warmup)
    length = math.ceil(warmup * steps)
    values = [factor(found, step, steps, 50) for step in range(length + 1)]
    assert values[0] > 0
    assert values[-1] == pytest.approx(1.0, abs=1e-2 if name == "cosine" else 0)
    assert values == sorted(values)
    rises = [after - before for before, after in itertools.pairwise(values[:-1])]
    assert rises == pytest.approx([1 / (warmup * steps + 1)] * len(rises))
    assert values[-1] - values[-2] <= 1 / (warmup * steps + 1) + 1e-12, "no jump"


def test_warm_up_delays_the_cosine_which_still_ends_with_the_training() -> None:
    found = schedule(name="cosine", warmup_epochs=2, final=0.1)
    assert factor(found, 20, 10, 12) == pytest.approx(1.0)
    assert factor(found, 70, 10, 12) == pytest.approx(0.55)
    assert factor(found, 120, 10, 12) == pytest.approx(0.1)


@pytest.mark.parametrize("final", [0.0, 0.01, 1.0])
def test_cosine_falls_from_one_to_the_final_share_and_stays_there(final: float) -> None:
    found = schedule(name="cosine", final=final)
    values = [factor(found, step, 8, 5) for step in range(41)]
    assert values[0] == 1.0
    assert values[20] == pytest.approx((1 + final) / 2)
    assert values[40] == pytest.approx(final, abs=1e-12)
    assert values == sorted(values, reverse=True)
    assert factor(found, 400, 8, 5) == pytest.approx(final, abs=1e-12)


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleSettings:
    milestones = sorted(draw(st.sets(st.floats(0, 30), min_size=1, max_size=5)))
    count = draw(st.sampled_from([1, len(milestones)]))
    return schedule(
        name=draw(st.sampled_from(["constant", "step", "cosine"])),
        milestones=milestones,
        factors=draw(st.lists(st.floats(1e-3, 1), min_size=count, max_size=count)),
        warmup_epochs=draw(st.sampled_from([0.0, 0.1, 1.0, 3.7, 20.0])),
        final=draw(st.floats(0, 1)),
    )


@settings(max_examples=150)
@given(
    found=schedules(),
    steps=st.lists(st.integers(0, 5000), min_size=1, max_size=20),
    steps_per_epoch=st.integers(1, 300),
    epochs=st.integers(1, 30),
)
def test_factor_is_pure_and_between_zero_and_one(
    found: ScheduleSettings, steps: list[int], steps_per_epoch: int, epochs: int
) -> None:
    values = {step: factor(found, step, steps_per_epoch, epochs) for step in steps}
    assert all(0 <= value <= 1 for value in values.values())
    assert {step: factor(found, step, steps_per_epoch, epochs) for step in reversed(steps)} == values
    after = sorted(step for step in values if step >= found.warmup_epochs * steps_per_epoch)
    falling = [values[step] for step in after]
    assert falling == sorted(falling, reverse=True), "after the warm-up the rate does not rise"
