"""A quantized run and its full-precision twin: finding the twin, and what the quantization cost."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ternlab.core.errors import SettingsError
from ternlab.metrics.registry import paired
from ternlab.runs.directory import RunDirectory, existing_run, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.record import Record, Status
from ternlab.settings.load import twin_of
from ternlab.settings.quant import QuantSettings
from ternlab.settings.root import Settings


def baseline_of(settings: Settings) -> tuple[Settings, RunDirectory]:
    """Return settings and folder of the full-precision twin of a quantized run, trained or not.

    Raises:
        SettingsError: `baseline.run` names no run, or one that cannot be a baseline of this run.
    """
    if settings.baseline.run is None:
        # Nothing of the quantization is in the twin: runs that differ in nothing else share it.
        twin = _twin(settings.model_copy(update={"quant": QuantSettings()}))
        _refuse("baseline.overrides", list(settings.baseline.overrides), _differences(settings, twin))
        return twin, run_directory(settings.paths.runs, run_id(twin))
    directory = existing_run(settings.paths.runs, settings.baseline.run, "baseline.run")
    twin = directory.settings()
    record = directory.record() or {}
    reasons = ["it is quantized"] if twin.quant.active else []
    if record.get("status") != Status.FINISHED:
        reasons.append(f"it is {record.get('status')}")
    _refuse("baseline.run", directory.run_id, reasons + _differences(settings, twin))
    return twin, directory


@functools.lru_cache(maxsize=1024)
def _twin(rest: Settings) -> Settings:
    """Return the twin of settings without their quantization; a plan of a sweep asks for the same ones often."""
    return twin_of(rest)


def _differences(settings: Settings, twin: Settings) -> list[str]:
    """Return in what a twin differs that makes it no twin: network, images, or seed. Its recipe may differ."""
    pairs = {
        "model.name": (twin.model.name, settings.model.name),
        **_options(settings, twin),
        "seed": (twin.seed, settings.seed),
        **{
            f"data.{name}": (getattr(twin.data, name), getattr(settings.data, name))
            for name in ("name", "val_fraction", "split_seed", "limit_train", "image_size")
        },
    }
    return [f"its {name} is {there}, not {here}" for name, (there, here) in pairs.items() if there != here]


def _options(settings: Settings, twin: Settings) -> dict[str, tuple[object, object]]:
    """Return what the options of the network are in the twin and in the run, but for those of its training."""
    options = twin.model.options(), settings.model.options()
    names = {name for each in options for name in each} - settings.model.training_options
    if twin.model.name != settings.model.name:
        return {}
    return {f"model.{name}": (getattr(twin.model, name), getattr(settings.model, name)) for name in sorted(names)}


def _refuse(setting: str, value: object, reasons: list[str]) -> None:
    if reasons:
        raise SettingsError(
            setting,
            value=value,
            rule=f"cannot be the baseline of this run: {', '.join(reasons)}",
            instead="leave it out, and the right one is found or trained",
        )


def paired_metrics(quantized: Mapping[str, float], baseline: Record) -> dict[str, float]:
    """Return `baseline/...` and `degradation/...` of the metrics that are paired; positive where the run is worse.

    Args:
        quantized: metrics of the quantized run, `test/...` among them.
        baseline: record of its finished twin.
    """
    pairs: dict[str, float] = {}
    for name, entry in paired().items():
        of_baseline, own = baseline["metrics"].get(f"test/{name}"), quantized.get(f"test/{name}")
        # A metric of a plugin is younger than a baseline that was trained without it.
        if of_baseline is not None and own is not None:
            pairs[f"baseline/{name}"] = of_baseline
            pairs[f"degradation/{name}"] = entry.degradation(of_baseline, own)
    return pairs
