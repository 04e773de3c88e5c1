"""Names of the trainings, their options, and where their modules are; free of torch.

A training is a function `build(setup: Setup) -> Classifier` (see `ternlab.training.setup`). Its options are an
`AlgorithmOptions` class, so that a wrong option is answered, and the files that it needs are known, without torch.
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
    """What the registry knows of a training.

    Attributes:
        options: the class that checks its options and knows the files that it needs.
        build: `"package.module:function"` of a function that returns what Lightning trains.
        metrics: names of the columns that it can add to `metrics.csv`; `loss/NAME` for the term NAME of a sum.
        check: `"package.module:function"` of a function `check(settings) -> None` that raises SettingsError; it may
            import torch, and is called before the runs that this one needs are trained.
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
    """Add a training under `name`; `algorithm.name=NAME` chooses it.

    Args:
        name: of the training.
        build, options, metrics, check: see `AlgorithmEntry`.

    Raises:
        ValueError: the name is taken by another training, or a reference to a function has no colon.
    """
    if check is not None:
        checked_reference("check", check)
    ALGORITHMS.register(name, AlgorithmEntry(options, checked_reference("build", build), metrics, check))


def algorithm_entry(name: str) -> AlgorithmEntry:
    """Return the entry of the training `name`.

    Raises:
        SettingsError: there is no such training; near matches are named.
    """
    return ALGORITHMS.entry(name)


def algorithm_builder(name: str) -> Callable[..., Any]:
    """Import and return the function that builds what Lightning trains."""
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
    """Return the files with weights that the training of `settings` needs, beside its first weights."""
    return settings.algorithm.options.inputs(settings)


def metrics_of(settings: Settings) -> frozenset[str]:
    """Return the names of the columns that the training of `settings` can add to `metrics.csv`."""
    entry = algorithm_entry(settings.algorithm.name)
    return frozenset((*entry.metrics, *(f"loss/{one.name}" for one in settings.objectives)))
