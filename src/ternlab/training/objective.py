"""Builds the objective from the settings."""

from __future__ import annotations

from ternlab.objectives.base import Objective, Weighted
from ternlab.objectives.registry import term_class
from ternlab.settings.root import Settings


def build_objective(settings: Settings, *own: Weighted) -> Objective:
    """Return the sum of an algorithm's own terms and the terms added by `objectives`.

    Args:
        settings: settings of the run.
        own: the algorithm's own terms.
    """
    added = (Weighted(one.name, one.weight, term_class(one.name)(one.options)) for one in settings.objectives)
    return Objective((*own, *added))
