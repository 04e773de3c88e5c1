"""The mirror of a run in TensorBoard's event files."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from ternlab.core.dotted import leaves
from ternlab.loggers.history import scalars_of, summary_of
from ternlab.loggers.options import TensorboardSettings
from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import Row
from ternlab.settings.load import config_of
from ternlab.settings.root import Settings

# Sections that do not describe the training.
_LEFT_OUT = frozenset({"logger", "paths", "force", "plugins", "checkpoint"})


class TensorboardMirror:
    """A run in a folder of event files; see `ternlab.loggers.mirror.Mirror`.

    Each process writes the whole history to a new file, which begins with a marker that makes readers forget the
    earlier ones, and then removes those. So a resumed run has every step once, whatever an earlier process has left.
    """

    def __init__(self, settings: Settings, directory: RunDirectory) -> None:
        self.sent = 0
        self._last_step = 0
        self._of_last_epoch: frozenset[str] = frozenset()
        folder = folder_of(settings, directory)
        earlier = list(folder.glob("events.out.tfevents.*")) if folder.is_dir() else []
        self._writer = EventFileWriter(str(folder))
        self._writer.add_event(_event(0, session_log=SessionLog(status=SessionLog.START)))
        self._writer.add_event(_event(0, summary=_session_start(settings, directory.run_id)))
        self._writer.flush()
        for path in earlier:
            path.unlink(missing_ok=True)

    def send(self, rows: Sequence[Row]) -> None:
        """Write one event per row, at its optimizer step."""
        for row in rows:
            self._last_step = int(row["step"])
            self._add(scalars_of(row))
            self.sent += 1
        self._writer.flush()

    def finish(self, metrics: Mapping[str, float | None], *, failed: bool) -> None:
        """Write the results at the last step, and how the run ended; a metric of the last epoch is not repeated."""
        self._add({name: value for name, value in summary_of(metrics).items() if name not in self._of_last_epoch})
        status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
        self._writer.add_event(_event(self._last_step, summary=_of_plugin(metadata.SESSION_END_INFO_TAG, data)))
        self._writer.close()

    def _add(self, values: Mapping[str, float]) -> None:
        self._of_last_epoch = frozenset(values)
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        if scalars:
            self._writer.add_event(_event(self._last_step, summary=Summary(value=scalars)))


def folder_of(settings: Settings, directory: RunDirectory) -> Path:
    """Return the folder of a run's event files: `logger.dir/<run_id>`, or `tensorboard` in the run directory."""
    chosen = settings.logger
    if isinstance(chosen, TensorboardSettings) and chosen.dir is not None:
        return Path(chosen.dir).expanduser() / directory.run_id
    return directory.path / "tensorboard"


def _event(step: int, **content: Any) -> Event:
    return Event(wall_time=time.time(), step=step, **content)


def _session_start(settings: Settings, run_id: str) -> Summary:
    """Return the settings as TensorBoard's hyperparameters."""
    start = plugin_data_pb2.SessionStartInfo(group_name=run_id, start_time_secs=time.time())
    for name, value in _hparams(settings).items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    return _of_plugin(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start))


def _of_plugin(tag: str, data: plugin_data_pb2.HParamsPluginData) -> Summary:
    about = metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def _hparams(settings: Settings) -> dict[str, bool | float | str]:
    """Return the settings that describe the training, by dotted names."""
    described = {name: value for name, value in config_of(settings).items() if name not in _LEFT_OUT}
    return {
        name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for name, value in leaves(described)
    }
