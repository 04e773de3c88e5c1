"""Runs as Ray Tune trials: an actor starts one run at a time in a pre-imported process, and watches it."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ray.tune import PlacementGroupFactory, Trainable

from ternlab.core.errors import ExitCode
from ternlab.core.wait_policy import set_wait_policy
from ternlab.metrics.registry import VAL
from ternlab.slurm.allocation import leave_step
from ternlab.sweeps.launcher import Task
from ternlab.sweeps.local import LocalLauncher
from ternlab.sweeps.states import standing

_POLL_SECONDS = 0.05
# Maximum duration of a step. Between two steps the actor accepts requests to stop, and Tune sees the run's progress.
_STEP_SECONDS = 1.0


class RunInActor(Trainable):  # type: ignore[misc]
    """Executes runs one after another, each in its own process, so that a crash is just an exit code here.

    Its configuration is plain values: `plan` (file), `run`, its `settings` (for Tune's results), `runs` (folder of the
    runs), `folder` (where the sweep was started), `sweep` (folder), `cpus` and `gpus` of each run, `threads`, and
    `arguments` of `run_trial`.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """Return the resources that Ray reserves for a run."""
        return PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """Accept the first run."""
        # The fork server would re-run the main module of Ray's worker in every run.
        vars(sys.modules["__main__"]).pop("__file__", None)
        # If srun started Ray's workers, one per node, a run is not one of its tasks.
        leave_step(os.environ)
        if not config["gpus"]:
            # Ray leaves all GPUs of the machine visible to actors that request none.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        # Ray's workers have the environment in which their cluster was started.
        set_wait_policy()
        self._launcher = LocalLauncher(
            Path(config["sweep"]), workers=1, threads=config["threads"], arguments=config["arguments"]
        )
        threading.Thread(target=self._leave_with, args=(os.getppid(),), daemon=True).start()
        self._take(config)

    def _leave_with(self, raylet: int) -> None:
        # Ray's worker may outlive its node manager for a long time; the run would then be unreachable.
        while os.getppid() == raylet:
            time.sleep(_STEP_SECONDS)
        self._launcher.stop()
        os._exit(1)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Accept the next run; the fork server is kept."""
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self._task = Task(config["run"], Path(config["plan"]))
        self._runs, self._folder = config["runs"], Path(config["folder"])
        self._begun = self._asked = False

    def ask_to_stop(self) -> None:
        """Ask the run to save and exit; its end is reported like any other."""
        if self._begun and not self._asked:
            self._launcher.stop_runs([self._task.run_id])
        self._asked = True

    def step(self) -> dict[str, Any]:
        """Watch the run for a while, and return its latest values, or its exit code with `done`."""
        if self._asked and not self._begun:
            return _end(ExitCode.INTERRUPTED)
        if not self._begun:
            if not (self._folder.is_dir() and self._task.plan.is_file()):
                return _end(ExitCode.BAD_SETTINGS, said=self._not_seen())
            self._begin()
        until = time.monotonic() + _STEP_SECONDS
        while time.monotonic() < until:
            for _, code in self._launcher.ended():
                return {**self._values(), **self._final(), **_end(code)}
            time.sleep(_POLL_SECONDS)
        return self._values()

    def _begin(self) -> None:
        # Paths in a plan are often relative to where the sweep was started; Tune has changed the working directory.
        os.chdir(self._folder)
        self._launcher.start([self._task])
        self._begun = True

    def _not_seen(self) -> str:
        return (
            f"{self._task.plan}: does not exist on {os.uname().nodename}, a node of the Ray cluster.\n"
            "  instead: use folders shared by all nodes for the sweep (paths.sweeps), its runs and data"
        )

    def _values(self) -> dict[str, Any]:
        if self._runs is None:
            return {}
        found = standing(self._runs, self._task.run_id)
        accuracy = found.last.get(VAL)
        return {"epoch": found.epoch, **({VAL: float(accuracy)} if accuracy else {})}

    def _final(self) -> dict[str, Any]:
        """Return the metrics of a finished run."""
        record = standing(self._runs, self._task.run_id).record if self._runs is not None else None
        return dict((record or {}).get("metrics") or {})

    def cleanup(self) -> None:
        """Let a run that is still active save and exit; the actor ends."""
        self._launcher.stop()
        self._launcher.close()


def _end(code: int, said: str = "") -> dict[str, Any]:
    return {"done": True, "exit_code": int(code), "said": said}
