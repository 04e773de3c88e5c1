"""Workspace and report as code: W&B's own model takes them, and they show what runs really send."""

from __future__ import annotations

import builtins
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError
from ternlab.loggers.history import history_of
from ternlab.loggers.wandb.dashboard import View, as_json, report_of, view_of, workspace_of
from ternlab.loggers.wandb.run_payload import run_payload
from ternlab.reports.metrics_catalog import catalog
from tests.loggers.made import made_run, made_sweep
from tests.loggers.server import LoopbackWandb


def section_of(view: View) -> dict[str, Any]:
    """Return what W&B stores of a workspace."""
    found: dict[str, Any] = json.loads(as_json(workspace_of(view)))["spec"]["section"]
    return found


def panels_of(view: View) -> list[dict[str, Any]]:
    """Return all panels."""
    return [panel for one in section_of(view)["panelBankConfig"]["sections"] for panel in one["panels"]]


def test_a_workspace_is_read_back_as_it_was_written() -> None:
    found = json.loads(as_json(workspace_of(View("me", "ternlab"))))
    assert (found["entity"], found["project"], found["displayName"]) == ("me", "ternlab", "ternlab")


def test_all_metrics_of_the_panels_are_sent_by_runs(tmp_path: Path) -> None:
    row = history_of(made_run(tmp_path, 1))[0]
    for panel in panels_of(View("me", "ternlab")):
        for name in panel["config"].get("metrics", []):
            assert name.removeprefix("summary_metrics.") in catalog()
        pattern = panel["config"].get("metricRegex")
        if pattern:
            assert any(re.search(pattern, name) for name in row), pattern
        if panel["viewType"] == "Run History Line Plot":
            assert panel["config"]["xAxis"] == "step"


def test_all_settings_of_the_panels_are_in_the_configuration_of_runs(tmp_path: Path) -> None:
    directory = made_run(tmp_path, 1)
    config = run_payload(directory.settings(), directory).config
    text = json.dumps(panels_of(View("me", "ternlab")))
    for path in set(re.findall(r"config:([\w.]+)", text)) | set(re.findall(r'"groupBy": "(quant[\w.]+)"', text)):
        value: Any = {name: {"value": inner} for name, inner in config.items()}
        for part in path.split("."):
            value = value[part]
        assert value is not None


def test_baselines_are_told_from_quantized_runs_by_the_job_type() -> None:
    assert any(panel["config"].get("groupBy") == "jobType" for panel in panels_of(View("me", "ternlab")))


def test_a_sweep_has_its_own_runs_and_axes(tmp_path: Path) -> None:
    plan, _, _ = made_sweep(tmp_path)
    view = view_of("me", "ternlab", plan, None)
    assert view.axes == ("quant.threshold.init", "optim.lr")
    (condition,) = section_of(view)["runSets"][0]["filters"]["filters"]
    assert (condition["key"]["name"], condition["value"]) == ("group", plan.sweep_id)
    assert section_of(View("me", "ternlab"))["runSets"][0]["filters"]["filters"] == []
    assert view_of("me", "ternlab", plan, "mine").group == "mine"


def test_both_are_saved_when_logged_in(wandb_server: LoopbackWandb) -> None:
    wandb_server.run("a-run")  # a report is about a project that is there
    view = View("somebody", "ternlab", "sweep-1")
    assert workspace_of(view).save().url.startswith(wandb_server.url)
    assert report_of(view).save().url.startswith(wandb_server.url)
    workspace, report = wandb_server.views
    assert (workspace["displayName"], report["displayName"]) == ("ternlab sweep-1", "ternlab sweep-1")
    assert "degradation/top1" in workspace["spec"]
    assert "degradation/top1" in report["spec"]
    assert "layers/.*/sparsity$" in report["spec"]
    assert wandb_server.unknown == []


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("wandb_workspaces"):
            raise ImportError(f"No module named {name!r}")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SettingsError, match="pip install 'wandb-workspaces"):
        workspace_of(View("me", "ternlab"))
