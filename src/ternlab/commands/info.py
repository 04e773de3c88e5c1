"""`ternlab info`: the contents of an exported file, as a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from ternlab.core.errors import ExitCode
from ternlab.core.text import aligned
from ternlab.export.info import info
from ternlab.metrics.registry import BASELINE, TEST


def show(chosen: argparse.Namespace) -> ExitCode:
    """Print the contents of a packed or ONNX file.

    Raises:
        FileFormatError: the file is damaged, of a later version, or not written by ternlab.
    """
    found = info(chosen.file)
    if chosen.json:
        print(json.dumps(found))
        return ExitCode.DONE
    print(*aligned([("", ""), *_totals(found)])[1:], sep="\n")
    print("", *aligned([_HEAD, *map(_layer, found["layers"])]), sep="\n")
    return ExitCode.DONE


_HEAD = ("layer", "shape", "levels", "packing", "bytes", "bits/weight")


def _totals(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    metrics = found["metrics"]
    yield "file", _format(found)
    if found.get("architecture"):
        yield "network", _network(found["architecture"])
    yield "rule", found["rule"] or "-"
    yield "run", found["run_id"] or "-"
    if TEST in metrics:
        yield "test top-1", _accuracy(metrics)
    if "export/int8_top1" in metrics:
        yield "int8 top-1", f"{metrics['export/int8_top1']:.2f} % (int8 activations, in ONNX Runtime)"
    yield "bytes", f"{found['bytes']:,}"
    if found["ratio"]:
        yield "ratio", f"{found['ratio']:.2f} (float32 parameters / whole file)"
    if "bits_per_weight" in found:
        yield "bits/weight", f"{found['bits_per_weight']:.4f} (codes only, {found['weights']:,} quantized weights)"
    if found.get("full_precision"):
        yield "full precision", _full_precision(found["full_precision"])
    if found.get("folded"):
        yield "BatchNorm", f"{len(found['folded'])} folded into convolutions"


def _format(found: dict[str, Any]) -> str:
    if found["format"] == "onnx":
        return f"ONNX, opset {found['opset']}, {found.get('activations', 'float32')} activations"
    return f"packed network, version {found['version']}, written by ternlab {found['ternlab']}"


def _network(found: dict[str, Any]) -> str:
    size = found["size"]
    return f"{found['model'].get('name')} for {found['channels']}x{size}x{size}, {len(found['classes'])} classes"


def _accuracy(metrics: dict[str, float]) -> str:
    found = f"{metrics[TEST]:.2f} %"
    baseline = metrics.get(BASELINE)
    return found if baseline is None else f"{found} (full precision: {baseline:.2f} %)"


def _full_precision(found: dict[str, Any]) -> str:
    names = [f"{name or '(weight)'} {count:,}" for name, count in found["weights"].items()]
    others = [f"{found['others']:,} in biases, normalization and others"] if found["others"] else []
    return (
        f"{found['parameters']:,} parameters ({100 * found['share']:.1f} %): {', '.join([*names, *others]) or 'none'}"
    )


def _layer(layer: dict[str, Any]) -> tuple[str, ...]:
    return (
        layer["name"],
        "x".join(map(str, layer["shape"])),
        "+".join(map(str, layer.get("levels", ()))),
        layer["packing"],
        f"{layer['bytes']:,}",
        f"{layer['bits_per_weight']:.4f}",
    )
