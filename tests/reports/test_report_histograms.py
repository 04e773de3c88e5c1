"""Histograms of weights: thresholds in the weights' unit, counted against the zeros that the rule itself found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ternlab.reports.load_runs import Run, gather
from ternlab.reports.page.histograms import MOST_LAYERS, histogram_rows, thresholds_of
from tests.reports.made_runs import make_run

NAME = "conv1.parametrizations.weight.original"


def with_weights(runs: Path, weights: dict[str, np.ndarray], layers: str, **changes: object) -> Run:
    """Return a run with these weights and this `layers.csv`."""
    directory = make_run(runs, {"degradation/top1": 1.0}, **{"quant__name": "tga", **changes})
    directory.layers_file.write_text(layers)
    save_file(weights, directory.weights_file)
    (run,) = gather(runs).runs
    return run


def test_zone_of_zeros_is_that_between_the_thresholds(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(0.3, 1.0, (16, 16, 3, 3)).astype(np.float32)
    mean, sigma, d = float(weight.mean()), float(weight.std(ddof=1)), 0.6
    zeros = float((np.abs(weight - mean) <= d * sigma).mean())
    layers = f"epoch,step,layer,threshold,d,mean,sigma,sparsity\n3,9,conv1,0.1,{d},{mean},{sigma},{zeros}\n"
    rows = histogram_rows(with_weights(tmp_path, {NAME: weight}, layers))
    assert (rows[0]["below"], rows[0]["above"]) == pytest.approx((mean - d * sigma, mean + d * sigma))
    assert sum(row["count"] for row in rows) == weight.size
    inside = sum(row["count"] for row in rows if row["code"] == 0)
    assert inside / weight.size == pytest.approx(zeros, abs=1e-3)
    edges = {row["low"] for row in rows}
    assert {rows[0]["below"], rows[0]["above"]} <= edges


def test_shares_are_those_of_bins_of_one_width(tmp_path: Path) -> None:
    weight = np.linspace(-1, 1, 20001, dtype=np.float32)
    layers = "epoch,step,layer,threshold,sparsity\n0,1,conv1,0.013,0.013\n"
    rows = histogram_rows(with_weights(tmp_path, {NAME: weight}, layers, quant__name="twn"))
    inner = [row["share"] for row in rows[1:-1]]
    assert inner == pytest.approx([np.mean(inner)] * len(inner), rel=0.05)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"mean": "0.5", "sigma": "2", "d": "0.25", "threshold": "9"}, (0.0, 1.0)),
        ({"threshold": "0.3"}, (-0.3, 0.3)),
        ({"threshold": "0.0"}, None),
        ({"threshold": ""}, None),
        ({}, None),
    ],
)
def test_thresholds(row: dict[str, str], expected: tuple[float, float] | None) -> None:
    assert thresholds_of(row) == expected


def test_filters_with_thresholds_of_their_own_have_no_zone(tmp_path: Path) -> None:
    weight = np.ones((4, 4), dtype=np.float32)
    layers = "epoch,step,layer,threshold,sparsity\n0,1,conv1,0.5,0.1\n"
    changes = {"quant__name": "twn", "quant__granularity": "filter"}
    rows = histogram_rows(with_weights(tmp_path, {NAME: weight}, layers, **changes))
    assert {row["code"] for row in rows} == {None}


def test_layers_of_a_plan_have_a_zone_by_the_granularity_of_their_own_rule(tmp_path: Path) -> None:
    weight = np.ones((4, 4), dtype=np.float32)
    names = ("conv1", "conv2", "fc")
    layers = "epoch,step,layer,threshold,sparsity\n" + "".join(f"0,1,{name},0.5,0.1\n" for name in names)
    weights = {f"{name}.parametrizations.weight.original": weight for name in names}
    entries = [{"match": "conv2", "name": "twn"}, {"match": "fc", "name": "seq"}]
    changes = {"quant__name": "twn", "quant__granularity": "filter", "quant__layers": entries}
    rows = histogram_rows(with_weights(tmp_path, weights, layers, **changes))
    zones = {row["layer"]: (row["below"], row["above"]) for row in rows}
    assert zones == {"conv1": (None, None), "conv2": (-0.5, 0.5), "fc": (None, None)}


def test_many_layers_are_taken_evenly(tmp_path: Path) -> None:
    names = [f"l{place}" for place in range(60)]
    weights = {f"{name}.parametrizations.weight.original": np.ones(3, dtype=np.float32) for name in names}
    layers = "epoch,step,layer,threshold\n" + "".join(f"0,1,{name},0.5\n" for name in names)
    found = list(dict.fromkeys(row["layer"] for row in histogram_rows(with_weights(tmp_path, weights, layers))))
    assert len(found) == MOST_LAYERS and (found[0], found[-1]) == ("l0", "l59")


@pytest.mark.parametrize("content", [None, b"", b"no weights at all"])
def test_weights_that_cannot_be_read_are_no_picture(tmp_path: Path, content: bytes | None) -> None:
    directory = make_run(tmp_path, {"degradation/top1": 1.0}, quant__name="tga")
    if content is not None:
        directory.weights_file.write_bytes(content)
    (run,) = gather(tmp_path).runs
    assert histogram_rows(run) == []
