"""ternlab: train ternary-weight networks, and know what they cost.

The names below, those of `ternlab.testing`, the commands and the files may be relied on; every other module may move. A
name is imported when it is first used, so that `import ternlab` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ternlab.algorithms.options import AlgorithmOptions
    from ternlab.algorithms.registry import register_algorithm
    from ternlab.algorithms.supervised import objective
    from ternlab.core.errors import SettingsError, TernlabError
    from ternlab.core.fields import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section
    from ternlab.data.registry import register_data
    from ternlab.data.settings import DataSettings
    from ternlab.data.source import DataSource, MemoryPart
    from ternlab.export.info import info
    from ternlab.export.packed import load, read_codes, save
    from ternlab.export.settings import ExportSettings
    from ternlab.export.summary import Summary, summary
    from ternlab.export.targets import register_target
    from ternlab.loggers.options import LoggerSettings
    from ternlab.loggers.registry import register_logger
    from ternlab.metrics.batch import Batch
    from ternlab.metrics.registry import register_metric
    from ternlab.models.registry import register_model
    from ternlab.models.settings import ModelSettings
    from ternlab.objectives.base import ForwardPass, Loss, Term
    from ternlab.objectives.registry import TermOptions, register_objective
    from ternlab.optimizers.groups import param_groups
    from ternlab.optimizers.registry import Groups, register_optimizer
    from ternlab.optimizers.settings import OptimSettings
    from ternlab.quantizers.attach import codes, latent_weight, quantize, quantized_layers
    from ternlab.quantizers.base import Assignment, Codes, Fault, Quantizer
    from ternlab.quantizers.full_precision import FullPrecision, full_precision
    from ternlab.quantizers.options import RuleOptions, TernaryOptions, TrainedThresholdOptions
    from ternlab.quantizers.registry import register_rule
    from ternlab.quantizers.statistics import mean, mean_where, widened
    from ternlab.quantizers.tga import first_threshold
    from ternlab.quantizers.trained_scale import positive
    from ternlab.quantizers.weights import LayerWeight, quantized_weights
    from ternlab.runs.directory import RunDirectory
    from ternlab.runs.needs import START, Need, register_needs
    from ternlab.settings.root import Settings
    from ternlab.sweeps.cluster import ClusterSettings
    from ternlab.sweeps.launchers import register_launcher
    from ternlab.trained.network import Trained
    from ternlab.training.module import Classifier
    from ternlab.training.setup import Setup

__version__ = "0.1.0"

_NAMES = {
    "ternlab.algorithms.options": ("AlgorithmOptions",),
    "ternlab.algorithms.registry": ("register_algorithm",),
    "ternlab.algorithms.supervised": ("objective",),
    "ternlab.core.errors": (
        "SettingsError",
        "TernlabError",
    ),
    "ternlab.core.fields": (
        "Fraction",
        "NonNegativeFloat",
        "NonNegativeInt",
        "PositiveFloat",
        "PositiveInt",
        "Section",
    ),
    "ternlab.data.registry": ("register_data",),
    "ternlab.data.settings": ("DataSettings",),
    "ternlab.data.source": (
        "DataSource",
        "MemoryPart",
    ),
    "ternlab.export.info": ("info",),
    "ternlab.export.packed": (
        "load",
        "read_codes",
        "save",
    ),
    "ternlab.export.settings": ("ExportSettings",),
    "ternlab.export.summary": (
        "Summary",
        "summary",
    ),
    "ternlab.export.targets": ("register_target",),
    "ternlab.loggers.options": ("LoggerSettings",),
    "ternlab.loggers.registry": ("register_logger",),
    "ternlab.metrics.batch": ("Batch",),
    "ternlab.metrics.registry": ("register_metric",),
    "ternlab.models.registry": ("register_model",),
    "ternlab.models.settings": ("ModelSettings",),
    "ternlab.objectives.base": (
        "ForwardPass",
        "Loss",
        "Term",
    ),
    "ternlab.objectives.registry": (
        "TermOptions",
        "register_objective",
    ),
    "ternlab.optimizers.groups": ("param_groups",),
    "ternlab.optimizers.registry": (
        "Groups",
        "register_optimizer",
    ),
    "ternlab.optimizers.settings": ("OptimSettings",),
    "ternlab.quantizers.attach": (
        "codes",
        "latent_weight",
        "quantize",
        "quantized_layers",
    ),
    "ternlab.quantizers.base": (
        "Assignment",
        "Codes",
        "Fault",
        "Quantizer",
    ),
    "ternlab.quantizers.full_precision": (
        "FullPrecision",
        "full_precision",
    ),
    "ternlab.quantizers.options": (
        "RuleOptions",
        "TernaryOptions",
        "TrainedThresholdOptions",
    ),
    "ternlab.quantizers.registry": ("register_rule",),
    "ternlab.quantizers.statistics": (
        "mean",
        "mean_where",
        "widened",
    ),
    "ternlab.quantizers.tga": ("first_threshold",),
    "ternlab.quantizers.trained_scale": ("positive",),
    "ternlab.quantizers.weights": (
        "LayerWeight",
        "quantized_weights",
    ),
    "ternlab.runs.directory": ("RunDirectory",),
    "ternlab.runs.needs": (
        "Need",
        "START",
        "register_needs",
    ),
    "ternlab.settings.root": ("Settings",),
    "ternlab.sweeps.cluster": ("ClusterSettings",),
    "ternlab.sweeps.launchers": ("register_launcher",),
    "ternlab.trained.network": ("Trained",),
    "ternlab.training.module": ("Classifier",),
    "ternlab.training.setup": ("Setup",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = [
    "START",
    "AlgorithmOptions",
    "Assignment",
    "Batch",
    "Classifier",
    "ClusterSettings",
    "Codes",
    "DataSettings",
    "DataSource",
    "ExportSettings",
    "Fault",
    "ForwardPass",
    "Fraction",
    "FullPrecision",
    "Groups",
    "LayerWeight",
    "LoggerSettings",
    "Loss",
    "MemoryPart",
    "ModelSettings",
    "Need",
    "NonNegativeFloat",
    "NonNegativeInt",
    "OptimSettings",
    "PositiveFloat",
    "PositiveInt",
    "Quantizer",
    "RuleOptions",
    "RunDirectory",
    "Section",
    "Settings",
    "SettingsError",
    "Setup",
    "Summary",
    "Term",
    "TermOptions",
    "TernaryOptions",
    "TernlabError",
    "Trained",
    "TrainedThresholdOptions",
    "codes",
    "first_threshold",
    "full_precision",
    "info",
    "latent_weight",
    "load",
    "mean",
    "mean_where",
    "objective",
    "param_groups",
    "positive",
    "quantize",
    "quantized_layers",
    "quantized_weights",
    "read_codes",
    "register_algorithm",
    "register_data",
    "register_launcher",
    "register_logger",
    "register_metric",
    "register_model",
    "register_needs",
    "register_objective",
    "register_optimizer",
    "register_rule",
    "register_target",
    "save",
    "summary",
    "widened",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ternlab' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
