"""Training in this process, with mirrors that are opened before and closed after, whatever happens."""

from __future__ import annotations

from ternlab.core.signals import StopRequest
from ternlab.runs.directory import RunDirectory
from ternlab.runs.needs import Inputs
from ternlab.runs.pairing import paired_metrics
from ternlab.settings.root import Settings
from ternlab.training.mirrors import build_mirrors
from ternlab.training.processes import Place
from ternlab.training.session import Outcome, train


def train_here(
    settings: Settings, directory: RunDirectory, inputs: Inputs, place: Place, stop: StopRequest | None = None
) -> Outcome:
    """Train the run of `directory` in this process; see `ternlab.training.session.train`."""
    mirrors = build_mirrors(settings, directory) if place.rank == 0 else ()
    try:
        outcome = train(settings, directory, inputs=inputs, mirrors=mirrors, place=place, stop=stop)
    except BaseException:
        for mirror in mirrors:
            mirror.close({}, exit_code=1)
        raise
    for mirror in mirrors:
        mirror.close({**outcome.metrics, **_pairing(directory, outcome)}, exit_code=0)
    return outcome


def _pairing(directory: RunDirectory, outcome: Outcome) -> dict[str, float]:
    baseline = (directory.record() or {}).get("baseline")
    return paired_metrics(outcome.metrics, baseline) if baseline else {}
