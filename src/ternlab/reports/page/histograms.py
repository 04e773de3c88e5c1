"""Histograms of a run's final latent weights, with the thresholds between which the code is 0."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from ternlab.reports.load_runs import Run
from ternlab.reports.schema import layer_option
from ternlab.reports.series import last_layers, number

BINS = 48
MOST_LAYERS = 24

Row = dict[str, Any]


def histogram_rows(run: Run) -> list[Row]:
    """Return one row per bin: `run`, `layer`, `place`, `low`, `high` (weights), `count`, `share`, `code`.

    Each row of a layer also has its `thresholds` and `zeros`. `code` is -1, 0 or 1, by the middle of the bin; `None`
    for rules without a zero, and if each filter has its own thresholds. If there are more than `MOST_LAYERS` layers,
    evenly spaced ones are taken. `[]` if the run has no readable weights.
    """
    rows: list[Row] = []
    layers = last_layers(run)
    chosen = _evenly(list(layers), MOST_LAYERS)
    for place, (name, weight) in enumerate(_weights(run.path / "model.safetensors", chosen)):
        rows += _of_layer(run, name, place, weight, layers[name])
    return rows


def thresholds_of(row: dict[str, Any]) -> tuple[float, float] | None:
    """Return the two weights between which the code is 0, from a layer's row of `layers.csv`.

    TGA's thresholds are d standard deviations from the mean (its column `threshold` is the trained one, before its
    bound); those of all other rules are symmetric around 0. Of several planes, the first has the smallest threshold.
    """
    mean, sigma, d = (number(row.get(name)) for name in ("mean", "sigma", "d"))
    if mean is not None and sigma is not None and d is not None:
        return mean - d * sigma, mean + d * sigma
    threshold = number(row.get("threshold"))
    return None if not threshold else (-threshold, threshold)


def _of_layer(run: Run, name: str, place: int, weight: np.ndarray[Any, Any], row: dict[str, Any]) -> list[Row]:
    # The outermost thousandth would compress all others.
    reach = float(np.quantile(np.abs(weight), 0.999)) or float(np.abs(weight).max()) or 1.0
    of_filters = layer_option(run.settings, name, "granularity") == "filter"
    found = None if of_filters else thresholds_of(row)
    edges = _edges(reach, found)
    counts, _ = np.histogram(np.clip(weight, edges[0], edges[-1]), bins=edges)
    about = {
        "run": run.run_id,
        "layer": name,
        "place": place,
        "below": found[0] if found else None,
        "above": found[1] if found else None,
        "zeros": number(row.get("sparsity")),
    }
    return [
        {
            **about,
            "low": float(low),
            "high": float(high),
            "count": int(count),
            # Scaled to the usual bin width, so that narrow bins are not too low.
            "share": float(count / weight.size * (2 * reach / BINS) / (high - low)),
            "code": _code((low + high) / 2, found),
        }
        for (low, high), count in zip(itertools.pairwise(edges), counts, strict=True)
    ]


def _edges(reach: float, thresholds: tuple[float, float] | None) -> np.ndarray[Any, Any]:
    """Return edges of about `BINS` bins from -reach to reach; thresholds are edges, so each bin has one code."""
    inner = [at for at in thresholds or () if -reach < at < reach]
    corners = [-reach, *inner, reach]
    width = 2 * reach / BINS
    parts = [
        np.linspace(low, high, max(1, round((high - low) / width)) + 1) for low, high in itertools.pairwise(corners)
    ]
    return np.unique(np.concatenate(parts))


def _code(middle: float, thresholds: tuple[float, float] | None) -> int | None:
    if thresholds is None:
        return None
    return int(middle > thresholds[1]) - int(middle < thresholds[0])


def _weights(path: Path, names: list[str]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Return the latent weights of layers as flat float32 arrays; read one by one, without torch."""
    from safetensors import SafetensorError, safe_open

    found = []
    try:
        with safe_open(path, "numpy") as file:
            known = set(file.keys())
            for name in names:
                entry = next((entry for entry in _latent_entries(name) if entry in known), None)
                if entry is not None:
                    weight = np.asarray(file.get_tensor(entry), dtype=np.float32).ravel()
                    if weight.size and np.isfinite(weight).all():
                        found.append((name, weight))
    except (OSError, SafetensorError, TypeError):
        # No weights, or of a type that numpy does not have: there is no chart, and the page says so.
        return []
    return found


def _latent_entries(name: str) -> tuple[str, str]:
    """Return where the latent weight called `name` may be: the weight of a layer, or another parameter of one."""
    layer, dot, parameter = name.rpartition(".")
    return f"{name}.parametrizations.weight.original", f"{layer}{dot}parametrizations.{parameter}.original"


def _evenly(names: list[str], most: int) -> list[str]:
    if len(names) <= most:
        return names
    step = (len(names) - 1) / (most - 1)
    return [names[round(place * step)] for place in range(most)]
