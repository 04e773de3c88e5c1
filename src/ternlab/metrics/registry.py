"""Registry of the metrics of a network on images, each defined once; does not import torch.

A metric is computed over the training, validation and test images. In records, CSV files, W&B and reports it is named
`train/NAME`, `val/NAME` and `test/NAME`; a paired metric also appears as `baseline/NAME` and `degradation/NAME`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ternlab.core.registry import Registry, checked_reference

Unit = Literal["", "percent", "points", "nats", "bytes", "ratio", "share", "bits", "count", "weight"]
Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class MetricEntry:
    """What the registry knows about a metric.

    Attributes:
        title: its name in sentences and tables (`top-1`).
        meaning: a phrase for `docs/metrics.md` and W&B.
        compute: `"package.module:function"` of `compute(batch: Batch) -> Tensor`, the sum over the images of a batch
            as a scalar (`ternlab.metrics.batch`); the metric is the mean over all images, times 100 for `percent`.
            `None` for the loss, which training itself computes.
        unit: the unit in tables.
        better: `higher`, `lower`, or empty if neither is better.
        digits: decimal places in tables.
        paired: whether a quantized run is compared with its baseline on this metric.
        searchable: whether a search may optimize this metric.
        in_training: the meaning on training batches, if it differs.
    """

    title: str
    meaning: str
    compute: str | None
    unit: Unit = ""
    better: Better = ""
    digits: int = 2
    paired: bool = False
    searchable: bool = False
    in_training: str = ""

    def __str__(self) -> str:
        return self.compute or self.title

    def degradation(self, baseline: float, quantized: float) -> float:
        """Return the degradation by quantization: positive if the quantized network is worse."""
        return quantized - baseline if self.better == "lower" else baseline - quantized


LOSS = "loss"
HEADLINE = "top1"
"""The default metric for comparing networks and choosing settings."""

VAL, TEST, TRAIN = f"val/{HEADLINE}", f"test/{HEADLINE}", f"train/{HEADLINE}"
BASELINE, DEGRADATION = f"baseline/{HEADLINE}", f"degradation/{HEADLINE}"

_CLASSIFICATION = "ternlab.metrics.classification"
METRICS: Registry[MetricEntry] = Registry(
    "metric",
    "search.metric",
    {
        HEADLINE: MetricEntry(
            "top-1", "images whose most probable class is right", f"{_CLASSIFICATION}:top1",
            unit="percent", better="higher", paired=True, searchable=True,
        ),
        "top5": MetricEntry(
            "top-5", "images whose right class is among the five most probable ones", f"{_CLASSIFICATION}:top5",
            unit="percent", better="higher", paired=True, searchable=True,
        ),
        LOSS: MetricEntry(
            "loss", "mean cross entropy", None, unit="nats", better="lower", digits=4, searchable=True,
            in_training="mean loss",
        ),
    },
)  # fmt: skip


def register_metric(
    name: str,
    compute: str,
    *,
    title: str,
    meaning: str,
    unit: Unit = "",
    better: Better = "",
    digits: int = 2,
    paired: bool = False,
    searchable: bool = False,
) -> None:
    """Register a metric under `name`; for the arguments see `MetricEntry`.

    Raises:
        ValueError: the name is taken by another metric or contains a slash, `compute` has no colon, or the metric is
            paired or searchable although neither direction is better.
    """
    if "/" in name:
        raise ValueError(
            f"The metric name is {name!r}, but must not contain a slash: prefixes such as `val/` are added to it."
        )
    if not better and (paired or searchable):
        raise ValueError(f"The metric {name!r} is paired or searchable, so `better` must be 'higher' or 'lower'.")
    METRICS.register(
        name,
        MetricEntry(
            title, meaning, checked_reference("compute", compute), unit=unit, better=better, digits=digits,
            paired=paired, searchable=searchable,
        ),
    )  # fmt: skip


def counted() -> dict[str, MetricEntry]:
    """Return the metrics that are summed over batches, by name and in registry order; the loss is not among them."""
    return {name: entry for name, entry in METRICS.items() if entry.compute is not None}


def paired() -> dict[str, MetricEntry]:
    """Return the metrics on which a quantized run is compared with its baseline."""
    return {name: entry for name, entry in METRICS.items() if entry.paired}


def search_metrics() -> list[str]:
    """Return the names of the validation metrics that a search may use, the default first."""
    return [f"val/{name}" for name, entry in METRICS.items() if entry.searchable]


def lower_is_better(name: str) -> bool:
    """Return whether lower is better for a metric, given as `val/NAME` or with another prefix."""
    entry = METRICS.get(name.rpartition("/")[2])
    return entry is not None and entry.better == "lower"
