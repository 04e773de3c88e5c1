"""The settings of algorithms and loss terms: checked, in the id, and written down again."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ternlab.algorithms.options import AlgorithmOptions
from ternlab.algorithms.registry import ALGORITHMS, inputs_of, metrics_of, register_algorithm
from ternlab.core.errors import SettingsError
from ternlab.objectives.registry import TERMS, TermOptions, register_objective
from ternlab.reports.metrics_catalog import EPOCHS
from ternlab.reports.metrics_catalog import metrics_of as catalogued
from ternlab.runs.identity import identity, run_id
from ternlab.runs.needs import inputs, needs
from ternlab.runs.pairing import baseline_of
from ternlab.settings.load import config_of, settings_from_config, twin_of
from ternlab.settings.root import Settings
from ternlab.training.inputs import check_inputs
from tests.commands.run_command import ROOT

TGA: dict[str, Any] = {"quant": {"name": "tga"}}


def distilled(**options: Any) -> Settings:
    return settings_from_config({**TGA, "algorithm": {"name": "distillation", **options}})


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"algorithm": {"name": "supervised"}},
        {**TGA, "algorithm": {"name": "distillation", "weight": 0.9, "loss": "mse"}},
        {**TGA, "objectives": {"dampening": {"weight": 0.1}}, "algorithm": None},
    ],
)
def test_settings_are_the_same_after_they_were_written_down(config: dict[str, Any]) -> None:
    settings = settings_from_config(config)
    assert settings_from_config(config_of(settings)) == settings
    hash(settings)


def test_the_default_is_in_no_id() -> None:
    default = settings_from_config(TGA)
    named = settings_from_config({**TGA, "algorithm": {"name": "supervised"}, "objectives": {}})
    assert run_id(named) == run_id(default)
    assert not {"algorithm", "objectives"} & identity(default).keys()


def test_every_option_counts_and_a_default_that_is_typed_does_not(tmp_path: Path) -> None:
    file = tmp_path / "teacher.safetensors"
    file.write_bytes(b"weights")
    changes: list[dict[str, Any]] = [
        {},
        {"weight": 0.9},
        {"loss": "mse"},
        {"temperature": 2.0},
        {"teacher": str(file)},
        {"teacher": str(file), "teacher_model": "resnet18"},
    ]
    ids = {run_id(settings_from_config(TGA)), *(run_id(distilled(**change)) for change in changes)}
    assert len(ids) == len(changes) + 1
    typed = {"teacher": "baseline", "teacher_model": None, "weight": 0.5, "loss": "kl", "temperature": 4}
    assert run_id(distilled(**typed)) == run_id(distilled())


def test_the_weight_of_a_loss_term_counts() -> None:
    ids = {
        run_id(settings_from_config({**TGA, "objectives": objectives}))
        for objectives in ({}, {"dampening": {}}, {"dampening": {"weight": 0.1}}, {"dampening": {"weight": 0}})
    }
    assert len(ids) == 4


@pytest.mark.parametrize("config", [{"algorithm": {"name": "distillation"}}, {"objectives": {"dampening": {}}}])
def test_the_baseline_is_trained_on_labels_alone(config: dict[str, Any]) -> None:
    assert twin_of(settings_from_config({**TGA, **config})) == twin_of(settings_from_config(TGA))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"algorithm": {"name": "distilation"}}, "did you mean distillation?"),
        ({"algorithm": {"name": "distillation", "temprature": 1}}, "did you mean temperature?"),
        ({"algorithm": {"temperature": 1}}, "supervised has no such option"),
        ({"algorithm": {"name": "distillation", "weight": 1.5}}, "algorithm.weight = 1.5: must be less than"),
        ({"algorithm": {"name": "distillation", "temperature": 0}}, "algorithm.temperature = 0: must be greater than"),
        ({"algorithm": {"name": "distillation", "loss": "l2"}}, "instead: algorithm.loss="),
        ({"algorithm": {"name": "distillation", "loss": "mse", "temperature": 2}}, "only applies to loss=kl"),
        ({"algorithm": {"name": "distillation", "teacher_model": "resnet18"}}, "teacher=FILE"),
        ({"algorithm": {"name": "distillation", "teacher": "a", "teacher_model": "resnet2"}}, "or resnet20"),
        (
            {"algorithm": {"name": "distillation"}, "quant": {"name": "none"}},
            "instead: algorithm.teacher=FILE, or quan",
        ),
        ({"objectives": {"dampning": {}}}, "did you mean dampening?"),
        ({"objectives": {"dampening": {"wieght": 1}}}, "did you mean weight?"),
        ({"objectives": {"dampening": {"weight": -1}}}, "objectives.dampening.weight = -1: must be greater"),
        ({"objectives": {"dampening": 0.1}}, "instead: +objectives.dampening.weight=0.1"),
        ({"objectives": ["dampening"]}, "must be a group of loss terms"),
        ({"objectives": {"cross_entropy": {}}}, "belongs to the algorithm"),
    ],
)
def test_bad_settings_say_what_to_type_instead(config: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings_from_config({**TGA, **config})
    assert words in str(error.value)


def test_a_teacher_that_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    for content in (None, b"not weights"):
        file = tmp_path / "teacher.pt"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SettingsError, match=r"^algorithm\.teacher = "):
            check_inputs(distilled(teacher=str(file)))


def test_inputs_name_their_source(tmp_path: Path) -> None:
    settings = distilled()
    assert [(one.name, one.source) for one in inputs_of(settings)] == [("teacher", "baseline")]
    trained = baseline_of(settings)[1].weights_file
    # The trained baseline is where the run starts, too.
    assert inputs(settings, needs(settings)) == {"start": trained, "teacher": trained}
    of_file = distilled(teacher=str(tmp_path / "a.pt"))
    assert inputs(of_file, needs(of_file)) == {"start": trained, "teacher": tmp_path / "a.pt"}
    assert inputs_of(settings_from_config(TGA)) == ()


def test_metrics_that_are_declared_are_in_the_catalog() -> None:
    declared = {name for entry in ALGORITHMS.values() for name in entry.metrics} | {f"loss/{name}" for name in TERMS}
    assert declared == {name for name in catalogued(EPOCHS) if name.startswith("loss/")}
    both = settings_from_config({**TGA, "algorithm": {"name": "distillation"}, "objectives": {"dampening": {}}})
    assert metrics_of(both) == declared


def test_everything_of_settings_is_free_of_torch() -> None:
    code = (
        "import sys; from ternlab.settings.load import settings_from_config as s;"
        "from ternlab.runs.identity import run_id; import ternlab.training.inputs;"
        "run_id(s({'quant': {'name': 'tga'}, 'algorithm': {'name': 'distillation'}, 'objectives': {'dampening': {}}}));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "arguments", [{"name": "supervised", "build": "my:build"}, {"name": "mine", "build": "my.build"}]
)
def test_an_algorithm_that_cannot_be_registered(arguments: dict[str, str]) -> None:
    before = dict(ALGORITHMS)
    with pytest.raises(ValueError, match=r"supervised|module:function"):
        register_algorithm(**arguments)
    assert before == ALGORITHMS


class _Weight(TermOptions):
    weight: float = 1.0


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "dampening", "module": "my:Term"},
        {"name": "cross_entropy", "module": "my:Term"},
        {"name": "my term", "module": "my:Term"},
        {"name": "mine", "module": "my.Term"},
        {"name": "mine", "module": "my:Term", "options": _Weight},
    ],
)
def test_a_loss_term_that_cannot_be_registered(arguments: dict[str, Any]) -> None:
    before = dict(TERMS)
    with pytest.raises(ValueError, match="loss term"):
        register_objective(**arguments)
    assert before == TERMS


def test_registering_the_same_twice_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ternlab.algorithms.registry.ALGORITHMS", copy.copy(ALGORITHMS))
    for _ in range(2):
        register_algorithm("mine", build="my:build", options=AlgorithmOptions)
