"""The codes and scales of one layer as arrays of a packed file, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ternlab.core.errors import SettingsError
from ternlab.export import coding
from ternlab.export.container import Arrays, as_array
from ternlab.export.header import LayerHeader, Packing, PlaneHeader
from ternlab.export.packed_state import as_numpy
from ternlab.quantizers.base import TERNARY, Codes, Plane
from ternlab.quantizers.filters import scale_shape


def write_plane(arrays: Arrays, place: str, plane: Plane, packing: Packing, of_filters: tuple[int, ...]) -> PlaneHeader:
    """Add codes and scales of a plane to `arrays`, and return its entry of the header.

    Args:
        arrays: of the file; changed in place.
        place: name of the layer and number of the plane.
        plane: on the CPU.
        packing: the packing that was asked for; codes that are not ternary take whole bits under `trit5`.
        of_filters: shape of one scale per filter.

    Raises:
        SettingsError: a code is outside of the alphabet, or a scale has the wrong shape or is not finite.
    """
    alphabet = plane.alphabet
    levels = len(alphabet)
    numbers = plane.codes.numpy().reshape(-1).astype(np.int16)
    places = (numbers - alphabet.start) // alphabet.step
    symbols = places.astype(np.uint8)
    if places.min() < 0 or places.max() >= levels or ((numbers - alphabet.start) % alphabet.step).any():
        raise SettingsError(
            place, rule=f"has codes outside of its alphabet {alphabet}", instead="a rule that respects it"
        )
    counts: list[int] = []
    if packing == "trit5" and levels == len(TERNARY):
        data = coding.pack_trits(symbols)
    elif packing == "entropy":
        counts = coding.histogram(symbols, levels)
        data = coding.pack_entropy(symbols, counts)
    else:
        packing, data = "bits", coding.pack_bits(symbols, levels)
    arrays[f"codes/{place}"] = as_array(data)
    for name, scale in (("scale", plane.scale), ("negative_scale", plane.negative_scale)):
        if scale is None:
            continue
        arrays[f"{name}/{place}"] = as_numpy(place, scale)
        if reason := _wrong_scale(scale, of_filters):
            raise SettingsError(place, rule=reason, instead="a fully trained network")
    return PlaneHeader(
        alphabet=(alphabet.start, alphabet.stop, alphabet.step),
        packing=packing,
        negative_scale=plane.negative_scale is not None,
        counts=tuple(counts),
    )


def read_layer(arrays: Arrays, layer: LayerHeader, module: nn.Module) -> Codes:
    """Return the codes of a layer.

    Raises:
        CodingError: arrays and header do not match.
    """
    of_filters = scale_shape(module, layer.shape)
    return Codes(
        tuple(
            _read_plane(arrays, f"{layer.name}/{number}", layer, plane, of_filters)
            for number, plane in enumerate(layer.planes)
        )
    )


def _read_plane(
    arrays: Arrays, place: str, layer: LayerHeader, header: PlaneHeader, of_filters: tuple[int, ...]
) -> Plane:
    alphabet = header.codes
    levels, count = len(alphabet), layer.weights
    # The scales first: they are small.
    scale = _scale(arrays[f"scale/{place}"], of_filters)
    negative = _scale(arrays[f"negative_scale/{place}"], of_filters) if header.negative_scale else None
    stored = arrays[f"codes/{place}"]
    if stored.dtype != np.uint8 or stored.ndim != 1:
        raise coding.CodingError(f"they are {stored.dtype} {stored.shape} instead of bytes")
    data = stored.tobytes()
    if header.packing == "entropy":
        symbols = coding.unpack_entropy(data, count, list(header.counts))
    elif header.packing == "trit5":
        symbols = coding.unpack_trits(data, count)
    else:
        symbols = coding.unpack_bits(data, count, levels)
    values = np.array(alphabet, dtype=np.int8)
    return Plane(torch.from_numpy(values[symbols].reshape(layer.shape)), scale, alphabet, negative)


def _scale(array: NDArray[Any], of_filters: tuple[int, ...]) -> Tensor:
    if array.dtype.kind != "f":
        raise coding.CodingError(f"the scale is {array.dtype}")
    scale = torch.from_numpy(array.copy())
    if reason := _wrong_scale(scale, of_filters):
        raise coding.CodingError(reason)
    return scale


def _wrong_scale(scale: Tensor, of_filters: tuple[int, ...]) -> str:
    """Return what is wrong with a scale, or nothing.

    Args:
        scale: scale of a layer, or of its filters.
        of_filters: shape of one scale per filter.
    """
    if tuple(scale.shape) not in ((), of_filters):
        return f"the scale has the shape {tuple(scale.shape)}, which is neither per layer nor per filter"
    return "" if scale.isfinite().all() else "the scale is not finite"
