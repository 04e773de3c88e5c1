"""Each message about a wrong setting says what to type instead, and that is accepted."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.algorithms.registry import ALGORITHMS
from ternlab.core.check import checked
from ternlab.core.dotted import find, leaves, replaced
from ternlab.core.errors import NO_DEFAULT, SettingsError
from ternlab.export.measure_settings import MeasureSettings
from ternlab.export.predict_settings import PredictSettings
from ternlab.export.targets import TARGETS, export_settings
from ternlab.models.registry import MODELS
from ternlab.optimizers.registry import OPTIMIZERS
from ternlab.quantizers.registry import RULES
from ternlab.reports.settings import ReportSettings
from ternlab.settings.load import settings_from_config
from ternlab.sweeps.launchers import LAUNCHERS
from ternlab.sweeps.settings import sweep_settings
from ternlab.trained.evaluate_settings import EvaluateSettings
from ternlab.trained.summarize_settings import SummarizeSettings
from tests.commands.run_command import ROOT
from tests.remedies import Check, Config, is_about_a_name, is_choice, remedy_of, typed_remedies

CHECKS: dict[str, Check] = {
    "train": settings_from_config,
    "multirun": sweep_settings,
    "evaluate": lambda config: checked(EvaluateSettings, config),
    "export": export_settings,
    "file/measure": lambda config: checked(MeasureSettings, config),
    "file/predict": lambda config: checked(PredictSettings, config),
    "report": lambda config: checked(ReportSettings, config),
    "summarize": lambda config: checked(SummarizeSettings, {name: config[name] for name in ("run", "json")}),
}

WRONG: tuple[Any, ...] = (
    "nonsense", "", None, True, -1, 0, 5, 1.5, 1e30, math.nan,
    [], ["nonsense"], [["nonsense"]], [3, 2], [0.5, 0.5, 0.5], {"nonsense": 1},
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command line, and the groups whose settings are given wrong values (none: all)."""

    command: str
    typed: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.command.rpartition("/")[2], *self.typed))


def _own(registry: Any) -> list[str]:
    """Return the built-in parts: other tests register parts of their own."""
    return [name for name in registry if "ternlab." in str(registry[name])]


STEP = ("optim.schedule.name=step", "optim.schedule.milestones=[2,4]", "optim.schedule.factors=[0.1]")


def _families() -> list[str]:
    """Return one network of each settings class: networks of a family have the same options."""
    classes = {MODELS[name].settings: name for name in reversed(_own(MODELS))}
    return list(classes.values())


CASES = [
    Case("train"),
    *(Case("train", (f"quant={name}",), ("quant",)) for name in _own(RULES) if name != "given"),
    Case("train", ("quant=given", "model.weights=FILE"), ("quant",)),
    *(Case("train", (f"quant={name}",), ("quant",)) for name in ("rel2", "lsq2")),
    *(Case("train", (f"model={name}",), ("model",)) for name in _families()),
    *(Case("train", (f"optim={name}",), ("optim",)) for name in _own(OPTIMIZERS)),
    Case("train", STEP, ("optim",)),
    *(Case("train", ("quant=tga", f"algorithm={name}"), ("algorithm",)) for name in _own(ALGORITHMS)),
    Case("train", ("quant=tga", "algorithm=distillation", "algorithm.teacher=x", "algorithm.loss=mse"), ("algorithm",)),
    Case("train", ("quant=tga", "+objectives.dampening.weight=0.1"), ("objectives",)),
    Case("train", ("data=image_folder", "data.root=x"), ("data",)),
    Case("train", ("experiment=imagenet_resnet18_tga", "data.root=x"), ("optim", "trainer", "baseline")),
    *(Case("multirun", (f"cluster={name}",), ("cluster",)) for name in _own(LAUNCHERS)),
    *(Case("multirun", (f"search={name}",), ("search",)) for name in ("grid", "random", "optuna", "asha")),
    Case("evaluate", ("run=x",)),
    *(Case("export", ("run=x", f"format={name}")) for name in _own(TARGETS)),
    Case("file/measure", ("model=x",)),
    Case("file/predict", ("model=x", "images=[x]")),
    Case("report"),
    Case("summarize", ("run=x",)),
]  # fmt: skip


@functools.cache
def _composed(command: str, typed: tuple[str, ...]) -> Config:
    folder, _, name = f"conf/{command}".rpartition("/")
    with initialize_config_dir(str(ROOT / folder), version_base="1.3"):
        values: Any = OmegaConf.to_container(compose(name, list(typed)), resolve=True)
    return {key: value for key, value in values.items() if key not in ("experiment", "debug")}


def composed(case: Case) -> Config:
    """Return the configuration of a command line."""
    return copy.deepcopy(_composed(case.command, case.typed))


def chosen(group: str, name: str) -> Any:
    """Return the settings of a choice; `None` if there is no such group."""
    if not (ROOT / "conf" / group).is_dir():
        return None
    return copy.deepcopy(_composed("multirun", (f"{group}={name}",))[group])


def mistakes(case: Case) -> Iterator[tuple[Config, str, Any]]:
    """Yield configurations with one wrong value each, with the setting and the value."""
    base = composed(case)
    of_sweep = {"cluster", "search", "sweep", "dry_run", "wait", "retries", "allow_other_code"}
    for name in dict.fromkeys([*(name for name, _ in leaves(base)), *_sections(base)]):
        group = name.partition(".")[0]
        if (case.groups and group not in case.groups) or (case.command == "multirun" and group not in of_sweep):
            continue
        for value in WRONG:
            if name == "plugins" and value and isinstance(value, str | list):
                # Not a mistake of form: there might be such modules.
                continue
            if name == "quant.layers" and isinstance(value, list) and len(value) > 1:
                # The advice is about one entry.
                continue
            yield replaced(base, name, copy.deepcopy(value)), name, value
        spoiled = copy.deepcopy(base)
        parent, _, key = name.rpartition(".")
        section = find(spoiled, parent) if parent else spoiled
        section[f"{key}x"] = section[key]
        yield spoiled, f"{name}x", section[key]


def _sections(config: Config, prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield f"{prefix}{key}"
            yield from _sections(value, f"{prefix}{key}.")


def refused(check: Check, config: Config) -> SettingsError | None:
    """Return the error of a refused configuration."""
    try:
        check(config)
    except SettingsError as error:
        return error
    return None


def as_told(error: SettingsError, base: Config) -> SettingsError:
    """Return the error as a command tells it: with the default under the typed choices."""
    own = dict(leaves(base))
    return error if error.default is NO_DEFAULT or error.setting not in own else error.with_default(own[error.setting])


def still_refused(check: Check, before: SettingsError, config: Config, base: Config) -> SettingsError | None:
    """Return why a configuration is refused after a remedy was typed; `None` if the remedy did what it promised.

    A remedy may lead to a question about another setting (a teacher's network needs its file), whose remedy works.
    """
    error = refused(check, config)
    if error is None:
        return None
    if is_about_a_name(str(before)):
        # The value may be wrong for the setting that was meant; what counts is that it exists.
        return error if error.what == before.what or is_about_a_name(str(error)) else None
    if error.what == before.what:
        return error
    remedies = typed_remedies(as_told(error, base), config, base, chosen)
    return None if any(still_refused(check, error, changed, base) is None for changed in remedies) else error


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_message_says_to_type_is_accepted(case: Case) -> None:
    check, base = CHECKS[case.command], composed(case)
    assert refused(check, base) is None
    told = 0
    for config, name, value in mistakes(case):
        error = refused(check, config)
        # A misspelt word is compared with the choices; that `given` allows only one of them is said next.
        if error is None or (name == "quant.init" and "quant=given" in case.typed):
            continue
        error = as_told(error, base)
        about = f"{case}: {name} = {value!r}\n{error}"
        assert remedy_of(str(error)), about
        if name in base and isinstance(base[name], dict):
            # On a command line, this names a choice of a group; Hydra answers.
            continue
        for changed in typed_remedies(error, config, base, chosen):
            again = still_refused(check, error, changed, base)
            if again is None and is_choice(error):
                break
            assert again is None or is_choice(error), f"{about}\nthen: {again}"
        else:
            assert not is_choice(error), about
        told += 1
    assert told > 10
