"""The W&B workspace and report of a project, created from code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ternlab.core.errors import SettingsError
from ternlab.loggers.wandb.writer import STEP
from ternlab.metrics.registry import DEGRADATION, TEST, VAL
from ternlab.sweeps.plan import Plan

_LAYERS = ("sparsity", "threshold", "scale")
_DEFAULT_AXES = ("quant.threshold.init", "optim.lr")
_MEANS = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
_NO_AXES = ("seed", "data", "model", "quant")


@dataclass(frozen=True)
class View:
    """The scope of a dashboard.

    Attributes:
        entity, project: W&B entity and project.
        group: W&B group of the runs to show; `None` shows all.
        axes: settings of the parallel coordinates.
    """

    entity: str
    project: str
    group: str | None = None
    axes: tuple[str, ...] = _DEFAULT_AXES

    @property
    def name(self) -> str:
        """Title of the workspace and of the report."""
        return f"ternlab {self.group}" if self.group else "ternlab"


def view_of(entity: str, project: str, plan: Plan | None, group: str | None) -> View:
    """Return the view of a project, or of one sweep in it, with the settings that the sweep varies."""
    if plan is None:
        return View(entity, project)
    names = dict.fromkeys(name.lstrip("+") for trial in plan.trials for name in trial.point)
    axes = tuple(name for name in names if name not in _NO_AXES)
    return View(entity, project, group or plan.sweep_id, axes or _DEFAULT_AXES)


def workspace_of(view: View) -> Any:
    """Return the `wandb_workspaces.workspaces.Workspace` of a view; contacts no server.

    Raises:
        SettingsError: wandb-workspaces is not installed.
    """
    ws, _ = _library()
    sections = [
        ws.Section(name=title, panels=panels, is_open=number < 4)
        for number, (title, panels) in enumerate(sections_of(view))
    ]
    return ws.Workspace(
        entity=view.entity,
        project=view.project,
        name=view.name,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=50),
        runset_settings=ws.RunsetSettings(
            filters=f"Metric('Group') = '{view.group}'" if view.group else "",
            pinned_columns=["run:displayName", *(f"summary:{name}" for name in (DEGRADATION, TEST, VAL))],
        ),
    )


def report_of(view: View) -> Any:
    """Return the `wandb_workspaces.reports.v2.Report` of a view; only sending it contacts a server.

    Raises:
        SettingsError: wandb-workspaces is not installed.
    """
    _, wr = _library()
    runset = wr.Runset(
        entity=view.entity,
        project=view.project,
        name=view.name,
        filters=f"Metric('Group') = '{view.group}'" if view.group else "",
    )
    blocks: list[Any] = [wr.TableOfContents()]
    for title, panels in sections_of(view):
        blocks += [wr.H2(title), wr.PanelGrid(runsets=[runset], panels=panels)]
    return wr.Report(entity=view.entity, project=view.project, title=view.name, blocks=blocks, width="fluid")


def sections_of(view: View) -> list[tuple[str, list[Any]]]:
    """Return title and panels of each section, the same for workspace and report."""
    _, wr = _library()
    rule, kind = wr.Config("quant.name"), wr.Metric("JobType")
    lost = wr.SummaryMetric(DEGRADATION)
    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(name)) for name in view.axes]
    columns += [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(VAL))]
    columns += [wr.ParallelCoordinatesPlotColumn(metric=lost, inverted=True)]
    return [
        (
            "Degradation relative to the baseline, by quantizer",
            [
                _bars(wr, "degradation, top-1 (percentage points; mean, standard deviation)", DEGRADATION, rule),
                _bars(wr, "test top-1, percent", TEST, rule),
                _bars(wr, "compression", "compression/ratio", rule),
            ],
        ),
        (
            "Initial threshold x learning rate",
            [
                wr.MediaBrowser(title="heat map of mean degradation (sweeps)", media_keys=["heat_map"]),
                wr.ParallelCoordinatesPlot(title="settings and results", columns=columns),
                _scatter(wr, view.axes, lost),
                wr.WeavePanelSummaryTable(table_name="settings"),
            ],
        ),
        (
            "Quantized runs and their baselines",
            [
                _lines(wr, "validation top-1, percent", y=[VAL], groupby=kind),
                _lines(wr, "validation top-1 by quantizer", y=[VAL], groupby=rule),
                _lines(wr, "training loss, nats", y=["train/loss"], groupby=rule),
            ],
        ),
        ("Layers", [_lines(wr, f"{name} of each layer", metric_regex=f"layers/.*/{name}$") for name in _LAYERS]),
        (
            "Training",
            [
                _lines(wr, "codes changed per epoch", y=["quant/flip_ratio"]),
                _lines(wr, "sparsity", y=["quant/sparsity"]),
                _lines(wr, "learning rate", y=["lr"]),
            ],
        ),
    ]


def as_json(workspace: Any) -> str:
    """Return a workspace as the JSON that W&B stores, after reading it back.

    Raises:
        ValueError: W&B's own model rejects it.
    """
    model = workspace._to_model()
    text: str = model.model_dump_json(by_alias=True, exclude_none=True)
    again = type(model).model_validate_json(text).model_dump_json(by_alias=True, exclude_none=True)
    if json.loads(again) != json.loads(text):
        raise ValueError("the workspace changed when it was written and read back")
    return json.dumps(json.loads(text), indent=2) + "\n"


def _bars(wr: Any, title: str, metric: str, groupby: Any) -> Any:
    found = wr.SummaryMetric(metric)
    return wr.BarPlot(title=title, metrics=[found], orientation="v", groupby=groupby, **_MEANS)


def _lines(wr: Any, title: str, **more: Any) -> Any:
    return wr.LinePlot(title=title, x=STEP, **more, **(_MEANS if "groupby" in more else {}))


def _scatter(wr: Any, axes: Sequence[str], lost: Any) -> Any:
    """Return degradation as colour over the first two axes, or against the only axis."""
    first, *others = (wr.Config(name) for name in axes)
    if not others:
        return wr.ScatterPlot(title="degradation", x=first, y=lost)
    return wr.ScatterPlot(title="degradation as colour", x=others[0], y=first, z=lost)


def _library() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise SettingsError(
            "wandb-workspaces",
            rule=f"is not installed but is needed to create the dashboard ({error})",
            instead="pip install 'wandb-workspaces>=0.4.13'",
        ) from None
    return workspaces, reports
