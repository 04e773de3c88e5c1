"""Options of the training algorithms, and the files that a training needs; does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from ternlab.core.errors import Conflict, SettingsError, did_you_mean
from ternlab.core.fields import PositiveFloat, Section
from ternlab.core.roles import BASELINE
from ternlab.models.registry import MODELS
from ternlab.quantizers.registry import RULES

if TYPE_CHECKING:
    from ternlab.settings.root import Settings


@dataclass(frozen=True)
class Input:
    """A file with weights that a training reads.

    Attributes:
        name: the training's name for the file.
        source: `baseline` (the final weights of the run's baseline), or a file path. The file's contents are part of
            the run ID.
        setting: dotted name of the setting that names the source; in the ID, the file's contents replace it.
    """

    name: str
    source: str
    setting: str


class AlgorithmOptions(Section):
    """Base class of every algorithm's options."""

    def inputs(self, settings: Settings) -> tuple[Input, ...]:
        """Return the files that the training needs in addition to the initial weights."""
        return ()

    def check(self, settings: Settings) -> None:
        """Reject options that are incompatible with other settings; reads no files.

        Raises:
            SettingsError: the options are incompatible; the message says what to type instead.
        """
        return


class SupervisedOptions(AlgorithmOptions):
    """Options of training on labels (see `ternlab.algorithms.supervised`); it has none."""


_TEMPERATURE = 4.0


class DistillationOptions(AlgorithmOptions):
    """Options of distillation (see `ternlab.algorithms.distillation`).

    Attributes:
        teacher: `baseline`, or a file with full-precision weights.
        teacher_model: the network of the file, a name registered in `ternlab.models.registry` (`None`: the run's own
            network, with its settings).
        weight: weight of the distillation term; the cross entropy has the remaining weight.
        loss: `kl` (Kullback-Leibler divergence at `temperature`) or `mse` (mean squared difference of the logits).
        temperature: for `kl`: the divisor of both networks' logits.
    """

    teacher: str = Field(BASELINE, min_length=1)
    teacher_model: str | None = None
    weight: float = Field(0.5, ge=0, le=1)
    loss: Literal["kl", "mse"] = "kl"
    temperature: PositiveFloat = _TEMPERATURE

    @field_validator("teacher_model")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in MODELS:
            rule = "there is no such network"
            raise SettingsError("algorithm.teacher_model", value=name, rule=rule, instead=did_you_mean(name, MODELS))
        return name

    @model_validator(mode="after")
    def _goes_together(self) -> DistillationOptions:
        """Reject options that would be ignored: two runs would differ in their ids but not in their results."""
        if self.loss == "mse" and self.temperature != _TEMPERATURE:
            raise Conflict("temperature only applies to loss=kl", {"loss": "kl"}, {"temperature": _TEMPERATURE})
        if self.teacher == BASELINE and self.teacher_model is not None:
            rule = "teacher_model is the network of a file, but the baseline has the run's own network"
            raise Conflict(rule, {"teacher_model": None}, {"teacher": "FILE"})
        return self

    def inputs(self, settings: Settings) -> tuple[Input, ...]:
        """Return the teacher."""
        return (Input("teacher", self.teacher, "algorithm.teacher"),)

    def check(self, settings: Settings) -> None:
        """Reject the baseline as teacher of a run that has no baseline."""
        if self.teacher == BASELINE and not settings.quant.active:
            raise SettingsError(
                "algorithm.teacher",
                value=BASELINE,
                rule="a run in full precision (quant=none) has no baseline",
                instead=f"algorithm.teacher=FILE, or quant=RULE, with RULE one of: {', '.join(sorted(RULES))}",
            )
