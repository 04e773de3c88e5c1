"""Ray Tune with a feed: a `Tuner` whose trials are the tasks of a sweep, as the scheduler starts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback, CheckpointConfig, RunConfig, TuneConfig, Tuner
from ray.tune.search import Searcher

from ternlab.core.errors import ExitCode
from ternlab.sweeps.on_ray.feed import Feed
from ternlab.sweeps.on_ray.trial import RunInActor

# The code of a run whose actor died with it, as of a process that was killed.
KILLED = -9


class _Suggest(Searcher):  # type: ignore[misc]
    """Suggests tasks in place of points of a space."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of the next trial, `None` for not now, or that there will be no more."""
        task = self._feed.take()
        return Searcher.FINISHED if task is None and self._feed.closed() else task

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing; `_Tell` gets the trial itself."""

    def __getstate__(self) -> dict[str, Any]:
        """Keep nothing for Tune's own restore: the folders of the runs say what is finished."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing, as above."""


class _Tell(Callback):  # type: ignore[misc]
    """Tells the feed what becomes of trials."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __getstate__(self) -> dict[str, Any]:
        """Keep nothing, as above."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note the actor: it takes a request between two steps of the trial, after what was asked before."""
        self._feed.started(trial.config["run"], trial.temporary_state.ray_actor.ask_to_stop.remote)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell of a run whose process has ended."""
        result = trial.last_result
        self._feed.ended(trial.config["run"], result.get("exit_code", ExitCode.FAILED), result.get("said", ""))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell of a run whose actor died, or could not start."""
        self._feed.ended(trial.config["run"], KILLED, str(trial.get_error() or ""))


def tuner_of(feed: Feed, folder: Path) -> Tuner:
    """Return a Tuner that ends when the feed is closed.

    Args:
        feed: of tasks.
        folder: for what Tune writes; nobody reads it.
    """
    return Tuner(
        RunInActor,
        tune_config=TuneConfig(search_alg=_Suggest(feed), num_samples=-1, reuse_actors=True),
        run_config=RunConfig(
            name="tune",
            storage_path=str(folder),
            callbacks=[_Tell(feed)],
            # Class trainables are asked for a checkpoint at their end; runs have their own.
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
