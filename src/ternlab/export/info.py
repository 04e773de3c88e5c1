"""The contents of an exported file, read without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ternlab.core.errors import SettingsError
from ternlab.export.container import FileFormatError, read_container
from ternlab.export.header import PackedHeader, checked_header


def info(path: Path | str) -> dict[str, Any]:
    """Return the contents of an exported file as plain JSON values.

    Returns:
        For a packed network: `format`, `bytes`, the header's entries, `weights` (quantized), `code_bytes`,
        `bits_per_weight` (of the codes only), `ratio` (float parameters over the whole file), and for each of `layers`
        `name`, `shape`, `levels`, `packing`, `bytes`, `bits_per_weight`. For an ONNX file `format`, `bytes`, `opset`,
        `ratio`, what the export wrote, and `layers` without `levels`, one for each array of weights.

    Raises:
        FileFormatError: the file is damaged, of a later version, or not written by ternlab.
    """
    path = Path(path)
    return _onnx_info(path) if _is_onnx(path) else _packed_info(path)


def _is_onnx(path: Path) -> bool:
    """Return whether a file looks like ONNX; what is neither is left to the reader of packed files to refuse.

    ONNX begins with the field `ir_version`, whose mark is the byte 8. A packed file begins with the length of its
    header in eight bytes, of which the last are zero, and a brace.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return start[:1] == b"\x08" and start[4:] != b"\0\0\0\0{"


def _packed_info(path: Path) -> dict[str, Any]:
    values, arrays = read_container(path)
    header = checked_header(values, path)
    sizes = {name: array.nbytes for name, array in arrays.items() if name.startswith("codes/")}
    layers = []
    for layer in header.layers:
        planes = [sizes.get(f"codes/{layer.name}/{number}", 0) for number in range(len(layer.planes))]
        layers.append(
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "levels": [len(plane.codes) for plane in layer.planes],
                "packing": layer.planes[0].packing,
                "bytes": sum(planes),
                "bits_per_weight": 8 * sum(planes) / layer.weights,
            }
        )
    return {**_packed_totals(header, path, sum(sizes.values())), "layers": layers}


def _packed_totals(header: PackedHeader, path: Path, code_bytes: int) -> dict[str, Any]:
    size = path.stat().st_size
    weights = sum(layer.weights for layer in header.layers)
    in_float = header.metrics.get("size/float_bytes")
    return {
        **header.model_dump(mode="json", exclude={"layers"}),
        "bytes": size,
        "weights": weights,
        "code_bytes": code_bytes,
        "bits_per_weight": 8 * code_bytes / max(1, weights),
        "ratio": in_float / size if in_float else None,
    }


def _onnx_info(path: Path) -> dict[str, Any]:
    try:
        import onnx
    except ImportError:
        raise SettingsError(
            "file", value=str(path), rule="onnx is not installed", instead="pip install 'ternlab[export]'"
        ) from None
    try:
        proto = onnx.load(path, load_external_data=False)
        texts = {entry.key: entry.value for entry in proto.metadata_props}
        header: dict[str, Any] = json.loads(texts["ternlab"])
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})\n  instead: the path of a file") from None
    except Exception as error:  # noqa: BLE001 - protobuf's errors have no common base
        raise FileFormatError(
            f"{path}: is not an ONNX file that ternlab exported ({type(error).__name__})\n"
            "  instead: a file written by python src/export.py run=ID format=onnx"
        ) from None
    opset = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    size = path.stat().st_size
    in_float = header.get("metrics", {}).get("size/float_bytes")
    totals = {"bytes": size, "opset": opset, "ratio": in_float / size if in_float else None}
    return {"format": "onnx", **totals, **header, "layers": [*_onnx_layers(proto)]}


def _onnx_layers(proto: Any) -> Iterator[dict[str, Any]]:
    """Yield the weights of a graph: its constants of two dimensions and more."""
    from onnx import TensorProto

    for entry in proto.graph.initializer:
        if len(entry.dims) > 1:
            shape = list(entry.dims)
            packing = TensorProto.DataType.Name(entry.data_type).lower()
            count = math.prod(shape)
            size = len(entry.raw_data)
            yield {
                "name": entry.name,
                "shape": shape,
                "packing": {"float": "float32"}.get(packing, packing),
                "bytes": size,
                "bits_per_weight": 8 * size / max(1, count),
            }
