"""A Ray `Tuner` whose trials are the tasks of a sweep, in the order in which the scheduler starts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback, CheckpointConfig, RunConfig, TuneConfig, Tuner
from ray.tune.logger import JsonLoggerCallback
from ray.tune.search import Searcher

from ternlab.core.errors import ExitCode
from ternlab.sweeps.on_ray.feed import Feed
from ternlab.sweeps.on_ray.trial import RunInActor

# The exit code of a run whose actor died with it, as for a killed process.
KILLED = -9


class _Suggest(Searcher):  # type: ignore[misc]
    """Suggests tasks instead of points of a space."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of the next trial, `None` if there is none now, or `FINISHED`."""
        task = self._feed.take()
        return Searcher.FINISHED if task is None and self._feed.closed() else task

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing; `_Tell` gets the trial itself."""

    def __getstate__(self) -> dict[str, Any]:
        """Save nothing for Tune's own restore: the run directories record what is finished."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, as above."""


class _Tell(Callback):  # type: ignore[misc]
    """Reports the fate of trials to the feed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __getstate__(self) -> dict[str, Any]:
        """Save nothing, as above."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the actor, which accepts requests between two steps of the trial, in order."""
        self._feed.started(trial.config["run"], trial.temporary_state.ray_actor.ask_to_stop.remote)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report a run whose process has ended."""
        result = trial.last_result
        self._feed.ended(trial.config["run"], result.get("exit_code", ExitCode.FAILED), result.get("said", ""))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report a run whose actor died or could not start."""
        self._feed.ended(trial.config["run"], KILLED, str(trial.get_error() or ""))


class _Results(JsonLoggerCallback):  # type: ignore[misc]
    """Writes a row per epoch of a trial, and one at its end, where Tune would write one per step of the actor."""

    def __init__(self) -> None:
        super().__init__()
        self._epochs: dict[str, int] = {}

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Write the result if it is news."""
        epoch = result.get("epoch", 0)
        if result.get("done") or epoch != self._epochs.get(trial.trial_id, 0):
            self._epochs[trial.trial_id] = epoch
            super().log_trial_result(iteration, trial, result)


def tuner_of(feed: Feed, scratch: Path, results: str | None = None) -> Tuner:
    """Return a Tuner that ends when the feed is closed.

    Args:
        feed: the feed of tasks.
        scratch: folder for Tune's files if its results are not kept.
        results: folder for Tune's results; trials are named after their runs.
    """
    folder, _, name = (results or f"{scratch}/tune").rpartition("/")
    return Tuner(
        RunInActor,
        tune_config=TuneConfig(
            search_alg=_Suggest(feed),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_run_of,
            trial_dirname_creator=_folder_of,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=folder,
            callbacks=[_Tell(feed), *([_Results()] if results else [])],
            # Class trainables are asked for a checkpoint at their end; runs have their own checkpoints.
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )


def _run_of(trial: Any) -> str:
    return str(trial.config["run"])


def _folder_of(trial: Any) -> str:
    # A run may be tried more than once.
    return f"{trial.config['run']}_{trial.trial_id}"
