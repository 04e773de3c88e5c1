"""The report command: an HTML page of results, and figures."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ternlab.commands.sweeps import found_plan
from ternlab.core.check import checked
from ternlab.core.errors import ExitCode, SettingsError
from ternlab.reports.settings import ReportSettings

if TYPE_CHECKING:
    from ternlab.reports.load_runs import Gathered

_NEEDED = ("altair", "vl_convert")


def main(config: dict[str, Any]) -> ExitCode:
    """Write the page as configured, and print its path."""
    wanted = checked(ReportSettings, config)
    _check_installed()
    out = _target(wanted.out)
    if wanted.figures is not None and Path(wanted.figures).expanduser().is_file():
        raise SettingsError("figures", value=wanted.figures, rule="is a file", instead="figures=FOLDER")
    started = time.monotonic()
    # Deferred: charts take a second to import; a typo should fail at once.
    from ternlab.core.files import write_text
    from ternlab.reports.page.document import page
    from ternlab.reports.page.drawing import draw
    from ternlab.reports.page.figures import write_figures
    from ternlab.reports.seed_groups import groups_of

    gathered = _gathered(wanted)
    groups = groups_of(gathered.runs, gathered.axes)
    if wanted.where is not None and not gathered.runs:
        raise SettingsError(
            "where", value=wanted.where, rule="no run matches", instead="ternlab results, to list the runs"
        )
    drawing = draw(gathered, groups, curves=wanted.curves, weights=wanted.weights)
    write_text(out, page(gathered, groups, drawing))
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB, {len(gathered.runs)} runs, {time.monotonic() - started:.1f} s)")
    if wanted.figures is not None:
        files = write_figures(drawing, Path(wanted.figures).expanduser())
        print(f"{wanted.figures} ({len(files)} files)")
    return ExitCode.DONE


def _gathered(wanted: ReportSettings) -> Gathered:
    """Return the requested runs."""
    from ternlab.reports.load_runs import gather

    if wanted.sweep is None:
        return gather(Path(wanted.paths.runs), where=wanted.where)
    plan, folder = found_plan(Path(wanted.paths.sweeps), wanted.sweep)
    # The plan's folder of runs is relative to where the sweep was started.
    runs = plan.runs if plan.runs.is_dir() else Path(wanted.paths.runs)
    return gather(runs, plan=plan, sweep_folder=folder, where=wanted.where)


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            "report",
            rule=f"needs {' and '.join(missing)}",
            instead="pip install 'ternlab[report]', then re-run the command",
        )


def _target(out: str) -> Path:
    path = Path(out).expanduser()
    if path.is_dir():
        raise SettingsError("out", value=out, rule="is a folder", instead=f"out={path / 'report.html'}")
    if not path.parent.is_dir():
        raise SettingsError("out", value=out, rule="its folder does not exist", instead=f"mkdir -p {path.parent}")
    return path
