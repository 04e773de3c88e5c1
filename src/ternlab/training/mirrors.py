"""Copies of a run's metrics in other places; the run's own files are the truth, so a mirror may fail."""

from __future__ import annotations

import logging
import netrc
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlparse

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import read_table
from ternlab.settings.load import config_of
from ternlab.settings.root import LoggerSettings, Settings

_log = logging.getLogger(__name__)
_FINISH_SECONDS = 30.0
_INIT_SECONDS = 30.0


class Mirror(Callback):
    """A callback that passes metrics on, and never raises."""

    def close(self, summary: Mapping[str, float], exit_code: int) -> None:
        """Pass on the final metrics and end."""
        raise NotImplementedError


def build_mirrors(settings: Settings, directory: RunDirectory) -> tuple[Mirror, ...]:
    """Return the mirrors that `logger` asks for."""
    return (WandbMirror(settings, directory),) if settings.logger.name == "wandb" else ()


class WandbMirror(Mirror):
    """Mirrors a run to Weights & Biases: online with a key, offline without.

    The W&B run has the run's id, so that a resumed run goes on in the same W&B run. A failure is logged
    once, and the mirror is silent from then on.
    """

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        self._settings = settings
        self._directory = directory
        self._run: Any = None
        self._broken = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the W&B run."""
        self._guarded(self._open)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass on the row of the epoch and the rows of the layers."""
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row |= {"epoch": trainer.current_epoch, "step": trainer.global_step}
        self._guarded(lambda: self._run.log(row))

    def close(self, summary: Mapping[str, float], exit_code: int) -> None:
        """Set the summary, log the table of the layers, and finish within half a minute."""
        self._guarded(lambda: self._finish(summary, exit_code))

    def _open(self) -> None:
        mode = wandb_mode(self._settings.logger)
        try:
            self._run = self._init(mode)
        except Exception as error:
            if mode != "online":
                raise
            _log.warning("W&B cannot be reached (%s); its files are written here, to be synced later.", error)
            import wandb

            # W&B's background process still holds the id of the run that it could not open.
            wandb.teardown()
            self._run = self._init("offline")
        # Steps of a resumed run go back to the checkpoint's; W&B's own counter could not.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _init(self, mode: str) -> Any:
        import wandb  # Deferred: it takes most of a second, and few runs need it.

        settings, chosen = self._settings, self._settings.logger
        return wandb.init(
            project=chosen.project,
            entity=chosen.entity,
            id=self._directory.run_id,
            name=self._directory.run_id,
            resume="allow",
            group=chosen.group or self._group(),
            job_type="quantized" if settings.quant.active else "baseline",
            tags=[*settings.tags, settings.quant.label, settings.model.name, settings.data.name],
            config=config_of(settings),
            dir=self._directory.path,
            mode=cast(Literal["online", "offline"], mode),
            settings=wandb.Settings(console="off", init_timeout=_INIT_SECONDS, x_disable_stats=True, silent=True),
        )

    def _group(self) -> str:
        baseline = (self._directory.record() or {}).get("baseline_run_id")
        return str(baseline or self._directory.run_id)

    def _finish(self, summary: Mapping[str, float], exit_code: int) -> None:
        import wandb

        if self._run is None:
            self._open()
        self._run.summary.update(dict(summary))
        rows = read_table(self._directory.layers_file)
        last = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
        if last:
            data = [[_number(row.get(column, "")) for column in last[0]] for row in last]
            self._run.log({"layers": wandb.Table(columns=list(last[0]), data=data)})
        # finish() waits for the upload; without a limit, a lost network would hold the run for hours.
        thread = threading.Thread(target=self._run.finish, kwargs={"exit_code": exit_code}, daemon=True)
        thread.start()
        thread.join(_FINISH_SECONDS)
        if thread.is_alive():
            _log.warning("W&B has not finished after %.0f s; see %s.", _FINISH_SECONDS, self._directory.path)

    def _guarded(self, action: Callable[[], object]) -> None:
        if self._broken:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever W&B raises, the run must go on
            self._broken = True
            _log.warning("W&B failed and is left out from here on (%s); the run's own files are whole.", error)


def wandb_mode(chosen: LoggerSettings) -> str:
    """Return `online` or `offline`: as set, as `WANDB_MODE` says, or by whether there is a key."""
    if chosen.mode != "auto":
        return chosen.mode
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    return "online" if os.environ.get("WANDB_API_KEY") or _in_netrc() else "offline"


def _in_netrc() -> bool:
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC", str(Path.home() / ".netrc"))).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _number(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None
