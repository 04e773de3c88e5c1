"""What a run needs, before anything is trained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError
from ternlab.core.roles import BASELINE
from ternlab.runs import needs as module
from ternlab.runs.directory import run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.needs import START, Need, Source, inputs, needs, ordered, register_inputs, register_needs
from ternlab.runs.record import Status, write_record
from ternlab.settings.load import twin_of
from ternlab.settings.root import Settings
from tests.needy import NEEDY
from tests.settings_for_tests import tiny_settings


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what a test registers."""
    monkeypatch.setattr(module, "NEEDS", dict(module.NEEDS))
    monkeypatch.setattr(module, "INPUTS", dict(module.INPUTS))


def full(runs: Path, **changes: Any) -> Settings:
    return tiny_settings(runs, quant={"name": "none"}, **changes)


def graph(settings: Settings) -> dict[str, list[str]]:
    """Return the roles of all that is needed, in order, and of what each needs itself."""
    return {need.role: [one.role for one in own] for need, own in ordered(needs(settings), run_id(settings))}


def test_a_run_in_full_precision_needs_nothing(tmp_path: Path) -> None:
    assert needs(full(tmp_path)) == ()
    assert inputs(full(tmp_path), ()) == {}


@pytest.mark.parametrize(("init", "gives"), [("scratch", ()), ("baseline", (START,))])
def test_a_quantized_run_needs_its_twin_and_starts_from_it_when_told(
    tmp_path: Path, init: str, gives: tuple[str, ...]
) -> None:
    settings = tiny_settings(tmp_path, quant__init=init)
    (need,) = needs(settings)
    assert (need.role, need.settings, need.gives, need.existing) == (BASELINE, twin_of(settings), gives, False)
    assert need.directory == run_directory(tmp_path, run_id(twin_of(settings)))
    assert inputs(settings, [need]) == dict.fromkeys(gives, need.directory.weights_file)


def test_a_run_that_starts_from_a_file_takes_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = tiny_settings(tmp_path, quant__init="file", quant__init_file="~/weights")
    assert needs(settings)[0].gives == ()
    assert inputs(settings, needs(settings)) == {START: tmp_path / "weights"}


def test_a_baseline_that_was_named_is_an_existing_run(tmp_path: Path) -> None:
    other = full(tmp_path, optim__lr=0.3)
    directory = run_directory(tmp_path, run_id(other))
    directory.create()
    directory.write_settings(other)
    write_record(directory.record_file, {"status": Status.FINISHED})
    (need,) = needs(tiny_settings(tmp_path, baseline__run=run_id(other)[-10:]))
    assert (need.directory, need.existing) == (directory, True)


def test_one_run_can_give_several_inputs(tmp_path: Path) -> None:
    file = tmp_path / "file"

    @register_inputs
    def teachers(settings: Settings) -> Mapping[str, Source]:
        return {"teacher": BASELINE, "second_teacher": file}

    settings = tiny_settings(tmp_path, quant__init="baseline")
    (need,) = needs(settings)
    assert need.gives == (START, "teacher")
    weights = need.directory.weights_file
    assert inputs(settings, [need]) == {START: weights, "teacher": weights, "second_teacher": file}


def test_a_function_that_is_registered_again_counts_once(tmp_path: Path) -> None:
    def right(settings: Settings) -> Iterable[Need]:
        return [Need.of("right", full(tmp_path, seed=3))]

    for _ in range(2):
        register_needs(right)
    assert [need.role for need in needs(full(tmp_path))] == ["right"]


@pytest.mark.parametrize(
    ("source", "says"),
    [(BASELINE, "this run has no baseline"), ("control", "this run has no control")],
)
def test_an_input_from_a_run_that_is_not_needed_is_refused(tmp_path: Path, source: str, says: str) -> None:
    register_inputs(lambda settings: {"teacher": source})
    with pytest.raises(SettingsError, match=f"^teacher = {source}: {says}"):
        needs(full(tmp_path))


def test_two_sources_of_one_input_are_refused(tmp_path: Path) -> None:
    register_needs(lambda settings: [Need.of("super-net", full(tmp_path, seed=5), (START,))])
    assert needs(tiny_settings(tmp_path))[1].gives == (START,)
    for init in ({"quant__init": "baseline"}, {"quant__init": "file", "quant__init_file": "weights"}):
        with pytest.raises(SettingsError, match=r"start: would come from .* and from "):
            needs(tiny_settings(tmp_path, **init))


def test_two_runs_of_one_role_are_refused(tmp_path: Path) -> None:
    register_needs(lambda settings: [Need.of("teacher", full(tmp_path, seed=seed)) for seed in (5, 6)])
    with pytest.raises(SettingsError, match=r"teacher: two runs have this role: .*-s5-.* and .*-s6-"):
        needs(tiny_settings(tmp_path))


def test_force_is_of_one_run_alone(tmp_path: Path) -> None:
    settings = full(tmp_path, force=True)
    register_needs(lambda settings: [Need.of("other", settings.model_copy(update={"seed": 5}))])
    assert needs(settings)[0].settings == full(tmp_path, seed=5)


def test_needs_of_needs_come_first_and_each_once(tmp_path: Path) -> None:
    found = graph(tiny_settings(tmp_path, **NEEDY))
    assert found == {
        "root": [],
        "left": ["root"],
        "right": ["root"],
        "baseline": ["left", "right"],
    }
    assert list(found) == ["root", "left", "right", "baseline"]


def test_a_run_that_needs_itself_is_refused(tmp_path: Path) -> None:
    register_needs(lambda settings: [Need.of("other", settings.model_copy(update={"seed": 1 - settings.seed}))])
    first, second = (run_id(full(tmp_path, seed=seed)) for seed in (0, 1))
    with pytest.raises(SettingsError, match=f"^needs = {first} -> {second} -> {first}: a run cannot need itself"):
        graph(full(tmp_path))


def test_runs_that_need_others_without_end_are_refused(tmp_path: Path) -> None:
    register_needs(lambda settings: [Need.of("next", settings.model_copy(update={"seed": settings.seed + 1}))])
    with pytest.raises(SettingsError, match="more than 50 runs, each of which needs the next"):
        graph(full(tmp_path))


def test_torch_is_not_imported() -> None:
    code = "import sys, ternlab.runs.needs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
