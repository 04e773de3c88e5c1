"""Launchers by name, and the queues that `ternlab sweep` asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ternlab.commands import sweeps
from ternlab.sweeps.cluster import ClusterSettings
from ternlab.sweeps.launchers import LAUNCHERS, LauncherEntry, keep_name, unknown_names
from ternlab.sweeps.local_settings import LocalCluster
from ternlab.sweeps.plan import write_plan
from tests.sweeps.made import plan_of


class Queue:
    """A queue with one run that ends when it has been asked for twice, or canceled."""

    queue = "Kubernetes"
    left: Mapping[str, str] = {"run-1": "Pending"}
    asked = 0

    def states(self, folder: Path, sweep_id: str, *, patient: bool = False) -> Mapping[str, str]:
        Queue.asked += 1
        return Queue.left if Queue.asked < 3 else {}

    def cancel(self, folder: Path, sweep_id: str) -> int:
        found, Queue.left = len(Queue.left), {}
        return found


def test_status_wait_and_cancel_ask_the_queue_of_a_registered_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(LAUNCHERS, "kubernetes", LauncherEntry(ClusterSettings, "a:b", f"{__name__}:Queue"))
    monkeypatch.setattr(Queue, "asked", 0)
    monkeypatch.setattr(sweeps, "_QUEUE_SECONDS", 0.01)
    plan = plan_of(tmp_path / "runs", "quant=none", "seed=0,1")
    folder = tmp_path / "sweeps" / plan.sweep_id
    folder.mkdir(parents=True)
    write_plan(plan, folder)
    assert sweeps.status(tmp_path / "sweeps", plan.sweep_id) == 0
    assert "in the queue of Kubernetes:\n  run-1  Pending" in capsys.readouterr().out
    sweeps.wait(tmp_path / "sweeps", plan.sweep_id)
    assert Queue.asked == 3
    assert sweeps.cancel(tmp_path / "sweeps", plan.sweep_id) == 0
    assert Queue.left == {}


def test_a_launcher_of_a_plugin_that_is_not_imported_is_known_by_its_name(tmp_path: Path) -> None:
    assert unknown_names(tmp_path) == []
    for cluster in (LocalCluster(), ClusterSettings(name="kubernetes"), LocalCluster()):
        keep_name(tmp_path, cluster)
    assert unknown_names(tmp_path) == ["kubernetes"]
