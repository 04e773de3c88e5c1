"""The defaults of all settings, for Hydra: conf/ holds choices and takes their defaults from the settings classes.

A file in conf/ names a part (`quant/_tga`) in its defaults list and holds only the values that its choice changes.
Hydra finds the parts through `hydra_plugins.ternlab_defaults`.
"""

from __future__ import annotations

import functools
from typing import Any

from ternlab.algorithms.registry import ALGORITHMS
from ternlab.core.by_name import option_defaults
from ternlab.core.fields import Section
from ternlab.data.settings import DataSettings
from ternlab.export.measure_settings import MeasureSettings
from ternlab.export.predict_settings import PredictSettings
from ternlab.export.targets import TARGETS
from ternlab.loggers.registry import LOGGERS
from ternlab.models.registry import MODELS
from ternlab.optimizers.registry import OPTIMIZERS
from ternlab.quantizers.plan import FULL_PRECISION
from ternlab.quantizers.registry import RULES
from ternlab.reports.settings import ReportSettings
from ternlab.settings.quant import QuantSettings
from ternlab.settings.root import PathSettings, Settings
from ternlab.settings.trainer import TrainerSettings
from ternlab.sweeps.launchers import LAUNCHERS
from ternlab.sweeps.settings import SearchSettings, SweepSettings
from ternlab.trained.evaluate_settings import EvaluateSettings
from ternlab.trained.summarize_settings import SummarizeSettings

# OmegaConf's marker for a mandatory value.
MISSING = "???"


@functools.cache
def defaults() -> dict[str, dict[str, Any]]:
    """Return the values of each part by name: `_COMMAND` or `GROUP/_NAME`."""
    groups = ("model", "data", "quant", "algorithm", "optim", "trainer", "logger", "paths")
    parts: dict[str, dict[str, Any]] = {
        "_train": _without(defaults_of(Settings), *groups) | {"objectives": {}},
        "_sweep": _without(defaults_of(SweepSettings), "cluster", "search"),
        "_summarize": defaults_of(SummarizeSettings),
        "_export": _without({"run": MISSING} | option_defaults(TARGETS, None), "paths"),
        "_evaluate": _without(defaults_of(EvaluateSettings), "paths"),
        "_measure": defaults_of(MeasureSettings),
        "_predict": defaults_of(PredictSettings),
        "_report": _without(defaults_of(ReportSettings), "paths"),
        "model/_base": option_defaults(MODELS, None) | {"name": MISSING},
        "data/_base": defaults_of(DataSettings) | {"name": MISSING},
        "trainer/_base": defaults_of(TrainerSettings),
        "paths/_base": defaults_of(PathSettings),
        "search/_base": defaults_of(SearchSettings),
    }
    every_rule = {"name": FULL_PRECISION} | _without(defaults_of(QuantSettings), "rule")
    parts[f"quant/_{FULL_PRECISION}"] = every_rule
    for name, rule in RULES.items():
        parts[f"quant/_{name}"] = every_rule | {"name": name} | defaults_of(rule.options)
    for name, algorithm in ALGORITHMS.items():
        parts[f"algorithm/_{name}"] = {"name": name} | defaults_of(algorithm.options)
    for name, optimizer in OPTIMIZERS.items():
        parts[f"optim/_{name}"] = {"name": name} | _without(defaults_of(optimizer.settings), "name")
    for name, logger in LOGGERS.items():
        parts[f"logger/_{name}"] = {"name": name} | _without(defaults_of(logger.settings), "name")
    for name, launcher in LAUNCHERS.items():
        parts[f"cluster/_{name}"] = {"name": name} | _without(defaults_of(launcher.settings), "name")
    return parts


def defaults_of(section: type[Section]) -> dict[str, Any]:
    """Return the defaults of a settings class as plain values, with `???` for mandatory values."""
    values: dict[str, Any] = section.model_construct().model_dump(mode="json", by_alias=True, warnings=False)
    required = {name: MISSING for name, field in section.model_fields.items() if field.is_required()}
    return required | values


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave out the groups of conf/, which have parts of their own."""
    return {name: value for name, value in values.items() if name not in names}
