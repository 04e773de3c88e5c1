"""Every metric that a run writes: its name, its unit, which way is better, where it stands, what it means."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from ternlab.metrics.registry import METRICS, Better, MetricEntry, Unit

Place = Literal["record", "metrics.csv", "layers.csv"]

RECORD: Place = "record"
EPOCHS: Place = "metrics.csv"
LAYERS: Place = "layers.csv"


@dataclass(frozen=True)
class Metric:
    """One metric; `docs/metrics.md` has the same table.

    Attributes:
        name: in records, CSV files, W&B and reports alike.
        unit: `points` are percentage points, `weight` is the unit of the latent weights; empty where there is none.
        better: `higher`, `lower`, or empty where neither is.
        places: files that hold it; `record` is `metrics` in `record.json`.
        meaning: a sentence without its full stop.
    """

    name: str
    unit: Unit
    better: Better
    places: tuple[Place, ...]
    meaning: str


_BOTH: tuple[Place, ...] = (RECORD, EPOCHS)
_VALIDATION = "on the validation images after each epoch; none without them (`data.val_fraction=0`)"
_TRAINING = "on the training batches as they were trained on, each before its step"
_TEST = "on the test images, once, with the weights of the last epoch"

_TERMS: tuple[Metric, ...] = (
    Metric("loss/cross_entropy", "nats", "lower", (EPOCHS,),
           f"mean of the term, before its weight, {_TRAINING}; terms are logged where the loss is a sum"),
    Metric("loss/distillation", "", "lower", (EPOCHS,),
           f"mean distance to the teacher, before its weight, {_TRAINING}"),
    Metric("loss/dampening", "", "lower", (EPOCHS,),
           "distance of the latent weights to their quantized values, before its weight, mean over the epoch"),
)  # fmt: skip
_OTHERS: tuple[Metric, ...] = (
    Metric("compression/ratio", "ratio", "higher", (RECORD,), "`size/float_bytes` over `size/quantized_bytes`"),
    Metric("size/float_bytes", "bytes", "lower", (RECORD,), "all parameters with 32 bits each"),
    Metric("size/quantized_bytes", "bytes", "lower", (RECORD,),
           "whole bits a quantized weight (2 for ternary codes, 1 for binary ones, in each plane), 32 bits a scale "
           "and for the rest; what layers share counts once"),
    Metric("quant/sparsity", "share", "", _BOTH, "quantized weights whose code is zero (in every plane)"),
    Metric("quant/flip_ratio", "share", "", (EPOCHS,), "quantized weights of which a code changed in the epoch"),
    Metric("export/bytes", "bytes", "lower", (RECORD,), "the packed file, header and all"),
    Metric("export/ratio", "ratio", "higher", (RECORD,), "`size/float_bytes` over `export/bytes`"),
    Metric("export/bits_per_weight", "bits", "lower", (RECORD,), "packed codes over the number of quantized weights"),
    Metric("export/onnx_bytes", "bytes", "lower", (RECORD,), "the file of `format=onnx`"),
    Metric("export/int8_bytes", "bytes", "lower", (RECORD,), "the file of `format=onnx activations=int8`"),
    Metric("export/int8_top1", "percent", "higher", (RECORD,), "`test/top1` of the int8 file in ONNX Runtime"),
    Metric("export/int8_loss_top1", "points", "lower", (RECORD,), "`test/top1` minus `export/int8_top1`"),
    Metric("export/state_dict_bytes", "bytes", "lower", (RECORD,), "the file of `format=state_dict`"),
    Metric("lr", "", "", (EPOCHS,), "learning rate of the weights at the end of the epoch"),
    Metric("epoch", "count", "", (EPOCHS, LAYERS), "the first is 0"),
    Metric("step", "count", "", (EPOCHS, LAYERS), "optimizer steps since the start"),
    Metric("layer", "", "", (LAYERS,), "name of the quantized layer"),
    Metric("weights", "count", "", (LAYERS,), "weights of the layer"),
    Metric("threshold", "weight", "", (LAYERS,), "threshold of the layer: as trained, else as the rule computes it"),
    Metric("d", "", "", (LAYERS,), "TGA: effective threshold, in standard deviations of the layer's weights"),
    Metric("mean", "weight", "", (LAYERS,), "TGA: mean of the layer's latent weights"),
    Metric("sigma", "weight", "", (LAYERS,), "TGA: standard deviation of the layer's latent weights"),
    Metric("scale", "weight", "", (LAYERS,), "scale of the codes, mean over the filters"),
    Metric("negative_scale", "weight", "", (LAYERS,), "TTQ: scale of the negative codes"),
    Metric("sparsity", "share", "", (LAYERS,), "weights of the layer whose code is zero (in every plane)"),
    Metric("flip_ratio", "share", "", (LAYERS,), "weights of the layer of which a code changed in the epoch"),
    Metric("threshold_gradient", "", "", (LAYERS,), "mean magnitude in the epoch, before the clamp"),
)  # fmt: skip


def catalog() -> dict[str, Metric]:
    """Return all metrics by name, with those of plugins that are imported by now."""
    return _catalog(tuple(METRICS.items()))


def metrics_of(place: Place) -> tuple[str, ...]:
    """Return the names of the metrics that `place` holds, in the order of the catalog."""
    return tuple(name for name, metric in catalog().items() if place in metric.places)


@functools.cache
def _catalog(entries: tuple[tuple[str, MetricEntry], ...]) -> dict[str, Metric]:
    paired = [(name, entry) for name, entry in entries if entry.paired]
    metrics = [
        *(_degradation(name, entry) for name, entry in paired),
        *(_on(name, entry, "test", (RECORD,), f"{entry.meaning}, {_TEST}") for name, entry in entries),
        *(_on(name, entry, "val", _BOTH, f"as `test/{name}`, {_VALIDATION}") for name, entry in entries),
        *(_on(name, entry, "train", (EPOCHS,), _in_training(name, entry)) for name, entry in entries),
        *_TERMS,
        *(
            _on(name, entry, "baseline", (RECORD,), f"`test/{name}` of the full-precision baseline of the same seed")
            for name, entry in paired
        ),
        *_OTHERS,
    ]
    return {metric.name: metric for metric in metrics}


def _on(name: str, entry: MetricEntry, images: str, places: tuple[Place, ...], meaning: str) -> Metric:
    return Metric(f"{images}/{name}", entry.unit, entry.better, places, meaning)


def _degradation(name: str, entry: MetricEntry) -> Metric:
    first, second = ("test", "baseline") if entry.better == "lower" else ("baseline", "test")
    unit: Unit = "points" if entry.unit == "percent" else entry.unit
    meaning = f"`{first}/{name}` minus `{second}/{name}`; negative where the quantized network is better"
    return Metric(f"degradation/{name}", unit, "lower", (RECORD,), meaning)


def _in_training(name: str, entry: MetricEntry) -> str:
    return f"{entry.in_training} {_TRAINING}" if entry.in_training else f"as `test/{name}`, {_TRAINING}"
