"""Every metric that a run writes: its name, its unit, which way is better, where it stands, what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["", "percent", "points", "nats", "bytes", "ratio", "share", "bits", "count", "weight"]
Better = Literal["higher", "lower", ""]
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

CATALOG: tuple[Metric, ...] = (
    Metric("degradation/top1", "points", "lower", (RECORD,),
           "`baseline/top1` minus `test/top1`; negative where the quantized network is better"),
    Metric("degradation/top5", "points", "lower", (RECORD,), "`baseline/top5` minus `test/top5`"),
    Metric("test/top1", "percent", "higher", (RECORD,), f"images whose most probable class is right, {_TEST}"),
    Metric("test/top5", "percent", "higher", (RECORD,),
           "the same, with the right class among the five most probable ones"),
    Metric("test/loss", "nats", "lower", (RECORD,), f"mean cross entropy {_TEST}"),
    Metric("val/top1", "percent", "higher", _BOTH, f"as `test/top1`, {_VALIDATION}"),
    Metric("val/top5", "percent", "higher", _BOTH, f"as `test/top5`, {_VALIDATION}"),
    Metric("val/loss", "nats", "lower", _BOTH, f"mean cross entropy {_VALIDATION}"),
    Metric("train/top1", "percent", "higher", (EPOCHS,), f"as `test/top1`, {_TRAINING}"),
    Metric("train/top5", "percent", "higher", (EPOCHS,), f"as `test/top5`, {_TRAINING}"),
    Metric("train/loss", "nats", "lower", (EPOCHS,), f"mean loss {_TRAINING}"),
    Metric("loss/cross_entropy", "nats", "lower", (EPOCHS,),
           f"mean of the term, before its weight, {_TRAINING}; terms are logged where the loss is a sum"),
    Metric("loss/distillation", "", "lower", (EPOCHS,),
           f"mean distance to the teacher, before its weight, {_TRAINING}"),
    Metric("loss/dampening", "", "lower", (EPOCHS,),
           "distance of the latent weights to their quantized values, before its weight, mean over the epoch"),
    Metric("baseline/top1", "percent", "higher", (RECORD,), "`test/top1` of the full-precision twin of the same seed"),
    Metric("baseline/top5", "percent", "higher", (RECORD,), "`test/top5` of the full-precision twin of the same seed"),
    Metric("compression/ratio", "ratio", "higher", (RECORD,), "`size/float_bytes` over `size/quantized_bytes`"),
    Metric("size/float_bytes", "bytes", "lower", (RECORD,), "all parameters with 32 bits each"),
    Metric("size/quantized_bytes", "bytes", "lower", (RECORD,),
           "whole bits a quantized weight (2 for ternary codes, 1 for binary ones, in each plane), 32 bits a scale "
           "and for the rest; what layers share counts once"),
    Metric("quant/sparsity", "share", "", _BOTH, "quantized weights whose code is zero (in every plane)"),
    Metric("quant/flip_ratio", "share", "", (EPOCHS,), "quantized weights of which a code changed in the epoch"),
    Metric("export/bytes", "bytes", "lower", (RECORD,), "the packed file, header and all"),
    Metric("export/ratio", "ratio", "higher", (RECORD,), "`size/float_bytes` over `export/bytes`"),
    Metric("export/bits_per_weight", "bits", "lower", (RECORD,), "the packed codes alone, over the quantized weights"),
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
    Metric("d", "", "", (LAYERS,), "TGA: effective threshold, in deviations of the layer's weights"),
    Metric("mean", "weight", "", (LAYERS,), "TGA: mean of the layer's latent weights"),
    Metric("sigma", "weight", "", (LAYERS,), "TGA: deviation of the layer's latent weights"),
    Metric("scale", "weight", "", (LAYERS,), "scale of the codes, mean over the filters"),
    Metric("negative_scale", "weight", "", (LAYERS,), "TTQ: scale of the negative codes"),
    Metric("sparsity", "share", "", (LAYERS,), "weights of the layer whose code is zero (in every plane)"),
    Metric("flip_ratio", "share", "", (LAYERS,), "weights of the layer of which a code changed in the epoch"),
    Metric("threshold_gradient", "", "", (LAYERS,), "mean magnitude in the epoch, before the clamp"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in CATALOG}


def metrics_of(place: Place) -> tuple[str, ...]:
    """Return the names of the metrics that `place` holds, in the order of the catalog."""
    return tuple(metric.name for metric in CATALOG if place in metric.places)
