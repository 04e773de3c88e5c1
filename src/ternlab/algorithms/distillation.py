"""Distillation: a trained network's outputs are a second target in addition to the labels.

The loss is (1 - weight) x cross entropy + weight x distance to the teacher's logits, plus the terms of `objectives`;
`ternlab.objectives.distillation` defines the distance. The teacher is in full precision and in evaluation mode, sees
the same augmented images, and costs one forward pass per batch, which the two passes of a sequential update share.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ternlab.algorithms.options import DistillationOptions
from ternlab.algorithms.supervised import cross_entropy
from ternlab.core.errors import SettingsError
from ternlab.core.roles import BASELINE
from ternlab.data.fingerprint import known_shape
from ternlab.models.build import build_model
from ternlab.models.outputs import LogitsOnly
from ternlab.models.settings import ModelSettings
from ternlab.models.weights import load_weights
from ternlab.objectives.base import Weighted
from ternlab.objectives.distillation import Distillation, Teacher
from ternlab.settings.root import Settings
from ternlab.training.module import Classifier
from ternlab.training.network import Shape
from ternlab.training.objective import build_objective
from ternlab.training.setup import Setup


def build(setup: Setup) -> Classifier:
    """Return the LightningModule to train.

    Raises:
        SettingsError: the teacher's weights cannot be read, or are of another network or of other classes.
    """
    settings = setup.settings
    options = _options(settings)
    teacher = Teacher(
        LogitsOnly(teacher_network(settings, setup.shape, setup.inputs["teacher"])),
        torch.channels_last if setup.channels_last else torch.contiguous_format,
    )
    objective = build_objective(
        settings,
        cross_entropy(settings, 1 - options.weight),
        Weighted("distillation", options.weight, Distillation(teacher, options.loss, options.temperature)),
    )
    return Classifier(setup.network(), objective, settings, setup.data.steps_per_epoch, setup.channels_last)


def check(settings: Settings) -> None:
    """Load the teacher's file into its network, if that is possible without reading the data.

    Raises:
        SettingsError: it cannot be read, or is of another network or of other classes.
    """
    teacher = _options(settings).teacher
    known = known_shape(settings.data)
    if teacher != BASELINE and known is not None:
        teacher_network(settings, Shape(*known), Path(teacher).expanduser())


def teacher_network(settings: Settings, shape: Shape, file: Path) -> nn.Module:
    """Return the teacher with its weights; it is not quantized.

    Raises:
        SettingsError: the weights cannot be read, or are of another network or of other classes.
    """
    name = _options(settings).teacher_model
    chosen = settings.model.model_copy(update={"weights": None}) if name is None else ModelSettings(name=name)
    network = build_model(chosen, channels=shape.channels, size=shape.size, classes=shape.classes)
    try:
        load_weights(network, str(file), name=chosen.name)
    except SettingsError as error:
        raise _of_teacher(error, file, chosen.name) from None
    return network


def _of_teacher(error: SettingsError, file: Path, name: str) -> SettingsError:
    lines = [line for line in str(error).splitlines() if not line.lstrip().startswith("instead:")]
    rule = "\n".join(lines).partition(": ")[2]
    return SettingsError(
        "algorithm.teacher",
        value=str(file),
        rule=rule,
        instead=f"algorithm.teacher=FILE (full-precision weights of {name} for these images and classes), "
        "or algorithm.teacher_model=NAME",
    )


def _options(settings: Settings) -> DistillationOptions:
    options = settings.algorithm.options
    if not isinstance(options, DistillationOptions):
        raise TypeError(f"The options of distillation must be DistillationOptions, not {type(options)}.")
    return options
