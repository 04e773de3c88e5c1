"""Pairs a quantized run with its full-precision baseline: finds the baseline and computes the degradation."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ternlab.core.errors import SettingsError
from ternlab.data.fingerprint import data_fingerprint
from ternlab.metrics.registry import paired
from ternlab.runs.directory import RunDirectory, existing_run, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.record import Record, Status
from ternlab.settings.load import twin_of
from ternlab.settings.quant import QuantSettings
from ternlab.settings.root import Settings

# Settings that decide which images there are, how they are split, and how the test images are prepared.
_OF_THE_IMAGES = (
    "name",
    "test_part",
    "val_fraction",
    "split_seed",
    "limit_train",
    "image_size",
    "resize",
    "channels",
    "mean",
    "std",
    "on_error",
    "image_column",
    "label_column",
)


def baseline_of(settings: Settings) -> tuple[Settings, RunDirectory]:
    """Return the settings and the run directory of a quantized run's full-precision baseline, trained or not.

    Raises:
        SettingsError: `baseline.run` names no run, or one that cannot be a baseline of this run.
    """
    if settings.baseline.run is None:
        # The baseline does not depend on the quantization: runs that differ only in quantization share it.
        twin = _twin(settings.model_copy(update={"quant": QuantSettings()}))
        twin_id = run_id(twin)
        reasons = _differences(settings, twin) or _other_files(settings, twin, twin_id)
        _refuse("baseline.overrides", list(settings.baseline.overrides), reasons)
        return twin, run_directory(settings.paths.runs, twin_id)
    directory = existing_run(settings.paths.runs, settings.baseline.run, "baseline.run")
    twin = directory.settings()
    record = directory.record() or {}
    reasons = ["it is quantized"] if twin.quant.active else []
    if record.get("status") != Status.FINISHED:
        reasons.append(f"it is {record.get('status')}")
    reasons += _differences(settings, twin) or _other_files(settings, twin, directory.run_id)
    _refuse("baseline.run", directory.run_id, reasons)
    return twin, directory


@functools.lru_cache(maxsize=1024)
def _twin(rest: Settings) -> Settings:
    """Return the baseline of settings without quantization; cached, because sweep plans repeat the same ones."""
    return twin_of(rest)


def _differences(settings: Settings, twin: Settings) -> list[str]:
    """Return the differences that rule out a baseline: network, images or seed. Its recipe may differ."""
    pairs = {
        "model.name": (twin.model.name, settings.model.name),
        **_options(settings, twin),
        "seed": (twin.seed, settings.seed),
        **{f"data.{name}": (getattr(twin.data, name), getattr(settings.data, name)) for name in _OF_THE_IMAGES},
    }
    return [f"its {name} is {there}, not {here}" for name, (there, here) in pairs.items() if there != here]


def _other_files(settings: Settings, twin: Settings, twin_id: str) -> list[str]:
    """Return whether a baseline was trained on other files of the user's own; names and sizes count, not the folder."""
    if twin.data.root == settings.data.root:
        return []
    try:
        same = data_fingerprint(twin.data) == data_fingerprint(settings.data)
    except SettingsError:
        # They have been moved or removed; the run's id depends on their names and sizes.
        moved = twin.data.model_copy(update={"root": settings.data.root})
        same = run_id(twin.model_copy(update={"data": moved})) == twin_id
    return [] if same else [f"its files in data.root={twin.data.root} differ from those in {settings.data.root}"]


def _options(settings: Settings, twin: Settings) -> dict[str, tuple[object, object]]:
    """Return the network options of the baseline and of the run, except those that only affect training."""
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
    """Return `baseline/...` and `degradation/...` of the paired metrics; degradation is positive if the run is worse.

    Args:
        quantized: metrics of the quantized run, including `test/...`.
        baseline: record of its finished baseline.
    """
    pairs: dict[str, float] = {}
    for name, entry in paired().items():
        of_baseline, own = baseline["metrics"].get(f"test/{name}"), quantized.get(f"test/{name}")
        # The baseline may have been trained before a plugin added the metric.
        if of_baseline is not None and own is not None:
            pairs[f"baseline/{name}"] = of_baseline
            pairs[f"degradation/{name}"] = entry.degradation(of_baseline, own)
    return pairs
