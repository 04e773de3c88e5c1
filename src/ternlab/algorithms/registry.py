"""Registry of the training algorithms: names, options and modules; does not import torch.

An algorithm is a function `build(setup: Setup) -> Classifier` (see `ternlab.training.setup`). Its options are an
`AlgorithmOptions` class, so that wrong options are reported and the needed files are known without importing torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ternlab.algorithms import options as own
from ternlab.algorithms.options import AlgorithmOptions, Input
from ternlab.core.registry import Registry, checked_reference, imported

if TYPE_CHECKING:
    from ternlab.settings.root import Settings

DEFAULT = "supervised"


@dataclass(frozen=True)
class AlgorithmEntry:
    """What the registry knows about an algorithm.

    Attributes:
        options: the class that validates its options and knows the files that it needs.
        build: `"package.module:function"` of a function that returns the LightningModule to train.
        metrics: names of the columns that it can add to `metrics.csv`; `loss/NAME` for the loss term NAME.
        check: `"package.module:function"` of a function `check(settings) -> None` that raises SettingsError; it may
            import torch, and is called before the needed runs are trained.
    """

    options: type[AlgorithmOptions]
    build: str
    metrics: tuple[str, ...] = ()
    check: str | None = None

    def __str__(self) -> str:
        return self.build


_ALGORITHMS = {
    DEFAULT: AlgorithmEntry(
        own.SupervisedOptions, "ternlab.algorithms.supervised:build", metrics=("loss/cross_entropy",)
    ),
    "distillation": AlgorithmEntry(
        own.DistillationOptions,
        "ternlab.algorithms.distillation:build",
        metrics=("loss/cross_entropy", "loss/distillation"),
        check="ternlab.algorithms.distillation:check",
    ),
}
ALGORITHMS: Registry[AlgorithmEntry] = Registry("algorithm", "algorithm", _ALGORITHMS)


def register_algorithm(
    name: str,
    *,
    build: str,
    options: type[AlgorithmOptions] = AlgorithmOptions,
    metrics: tuple[str, ...] = ("loss/cross_entropy",),
    check: str | None = None,
) -> None:
    """Register an algorithm under `name`; `algorithm.name=NAME` selects it.

    Args:
        name: name of the algorithm.
        build, options, metrics, check: see `AlgorithmEntry`.

    Raises:
        ValueError: the name is taken by another algorithm, or a function reference has no colon.
    """
    if check is not None:
        checked_reference("check", check)
    ALGORITHMS.register(name, AlgorithmEntry(options, checked_reference("build", build), metrics, check))


def algorithm_entry(name: str) -> AlgorithmEntry:
    """Return the entry of the algorithm `name`.

    Raises:
        SettingsError: there is no such algorithm; near matches are listed.
    """
    return ALGORITHMS.entry(name)


def algorithm_builder(name: str) -> Callable[..., Any]:
    """Import and return the function that builds the LightningModule to train."""
    build: Callable[..., Any] = imported(algorithm_entry(name).build)
    return build


def check_with_torch(settings: Settings) -> None:
    """Call the algorithm's own check, which may import torch.

    Raises:
        SettingsError: whatever it finds.
    """
    check = algorithm_entry(settings.algorithm.name).check
    if check is not None:
        imported(check)(settings)


def inputs_of(settings: Settings) -> tuple[Input, ...]:
    """Return the weight files that the training of `settings` needs in addition to its initial weights."""
    return settings.algorithm.options.inputs(settings)


def metrics_of(settings: Settings) -> frozenset[str]:
    """Return the names of the columns that the training of `settings` can add to `metrics.csv`."""
    entry = algorithm_entry(settings.algorithm.name)
    return frozenset((*entry.metrics, *(f"loss/{one.name}" for one in settings.objectives)))
