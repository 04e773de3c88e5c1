"""Training on labels: the loss is the cross entropy plus the terms of `objectives`."""

from __future__ import annotations

from ternlab.objectives.base import Objective, Weighted
from ternlab.objectives.cross_entropy import CrossEntropy
from ternlab.settings.root import Settings
from ternlab.training.module import Classifier
from ternlab.training.objective import build_objective
from ternlab.training.setup import Setup


def build(setup: Setup) -> Classifier:
    """Return the LightningModule to train."""
    settings = setup.settings
    return Classifier(setup.network(), objective(settings), settings, setup.data.steps_per_epoch, setup.channels_last)


def cross_entropy(settings: Settings, weight: float = 1.0) -> Weighted:
    """Return the cross entropy term, logged as `loss/cross_entropy`, with the run's label smoothing."""
    return Weighted("cross_entropy", weight, CrossEntropy(settings.optim.label_smoothing))


def objective(settings: Settings) -> Objective:
    """Return the objective."""
    return build_objective(settings, cross_entropy(settings))
