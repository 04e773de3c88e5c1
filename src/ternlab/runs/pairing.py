"""A quantized run and its full-precision twin: finding the twin, and what the quantization cost."""

from __future__ import annotations

from collections.abc import Mapping

from ternlab.errors import SettingsError
from ternlab.runs.directory import RunDirectory, existing_run, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.record import Record, Status
from ternlab.settings.load import twin_of
from ternlab.settings.root import Settings

_PAIRED = ("top1", "top5")


def baseline_of(settings: Settings) -> tuple[Settings, RunDirectory]:
    """Return settings and folder of the full-precision twin of a quantized run, trained or not.

    Raises:
        SettingsError: `baseline.run` names no run, or one that cannot be a baseline of this run.
    """
    if settings.baseline.run is None:
        twin = twin_of(settings)
        return twin, run_directory(settings.paths.runs, run_id(twin))
    directory = existing_run(settings.paths.runs, settings.baseline.run, "baseline.run")
    twin = directory.settings()
    record = directory.record() or {}
    reasons = [
        "it is quantized" if twin.quant.active else "",
        f"it is {record.get('status')}" if record.get("status") != Status.FINISHED else "",
        f"its model is {twin.model.name}" if twin.model.name != settings.model.name else "",
        f"its data are {twin.data.name}" if twin.data.name != settings.data.name else "",
    ]
    if any(reasons):
        raise SettingsError(
            "baseline.run",
            value=directory.run_id,
            rule=f"cannot be the baseline of this run: {', '.join(filter(None, reasons))}",
            instead="baseline.run=null, to find or train the right one",
        )
    return twin, directory


def paired_metrics(quantized: Mapping[str, float], baseline: Record) -> dict[str, float]:
    """Return `baseline/...` and `degradation/...` (baseline minus quantized, percentage points).

    Args:
        quantized: metrics of the quantized run, `test/top1` and `test/top5` among them.
        baseline: record of its finished twin.
    """
    pairs: dict[str, float] = {}
    for name in _PAIRED:
        of_baseline = baseline["metrics"][f"test/{name}"]
        pairs[f"baseline/{name}"] = of_baseline
        pairs[f"degradation/{name}"] = of_baseline - quantized[f"test/{name}"]
    return pairs
