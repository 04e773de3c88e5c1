"""Packed networks: compactly stored integer codes, everything else in full precision."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ternlab import __version__
from ternlab.core.check import checked
from ternlab.core.errors import SettingsError, TernlabError, did_you_mean
from ternlab.export import coding
from ternlab.export.container import Arrays, FileFormatError, as_array, read_container, shown, write_container
from ternlab.export.folding import Inference, foldable_pairs, inference_network, replace_by_identity
from ternlab.export.header import Architecture, LayerHeader, PackedHeader, Packing, PlaneHeader, checked_header
from ternlab.models.build import build_model
from ternlab.models.extra_state import decoded, encoded, extra_states
from ternlab.models.registry import MODELS, model_settings
from ternlab.models.versions import with_versions
from ternlab.quantizers.base import TERNARY, Codes, Plane
from ternlab.quantizers.filters import scale_shape
from ternlab.quantizers.full_precision import full_precision
from ternlab.quantizers.weights import entry_of, named_weight

_FLOATS = (torch.float16, torch.float32, torch.float64)
_DTYPES = frozenset((*_FLOATS, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64))
# Of a network that is built from a header: 4 GiB in float32. Larger ones are loaded with `model=`.
_MOST_PARAMETERS = 2**30


def save(
    model: nn.Module,
    path: Path | str,
    *,
    packing: Packing = "trit5",
    fold: bool = False,
    rule: str = "",
    architecture: Architecture | None = None,
    **origin: Any,
) -> int:
    """Write a quantized network to a file and return its bytes.

    Weights and scales must be finite. Everything else is stored as it is, NaN and infinity included: a mask of -inf is
    as good as any buffer, and a NaN there is seen in the logits of the loaded network as in those of the trained one.

    Args:
        model: as `ternlab.quantize` made it; not changed.
        path: path of the file; an existing file is replaced, and kept on an error.
        packing: `trit5` is 1.6 bits a ternary weight, `bits` 2, `entropy` what their frequencies allow. Codes that
            are not ternary take whole bits under `trit5`.
        fold: fold BatchNorm into scale and bias (see `ternlab.export.folding`).
        rule: label of the rule in tables.
        architecture: how ternlab builds the network; without it `load` needs the network.
        origin: `preprocessing`, `run_id` and `metrics` of the header.

    Raises:
        SettingsError: nothing is quantized, a weight or scale is not finite, a parameter is of a kind that the file
            does not hold (bfloat16), an entry of `origin` is not known, or `path` cannot be written.
        StorageError: the disk is full.
    """
    _check_packing(packing)
    inference = inference_network(model, fold=fold)
    if not inference.codes:
        raise SettingsError("model", rule="no layer is quantized", instead="call ternlab.quantize(model, 'tga') first")
    arrays, layers = _written(inference, packing)
    if architecture is not None:
        _one_precision(arrays, SettingsError("model", rule=_MIXED, instead="save without architecture"))
    entries = {"rule": rule, "layers": layers, "folded": inference.folded, "architecture": architecture, **origin}
    entries["full_precision"] = full_precision(model).to_dict()
    header = checked(PackedHeader, {"ternlab": __version__, **entries})
    try:
        return write_container(Path(path), arrays, header.model_dump(mode="json"))
    except OSError as error:
        raise SettingsError(
            "file", value=str(path), rule=f"cannot be written ({error.strerror})", instead="a writable path"
        ) from error


def _check_packing(packing: str) -> None:
    known = get_args(Packing)
    if packing not in known:
        raise SettingsError(
            "packing", value=packing, rule="there is no such packing", instead=did_you_mean(packing, known)
        )


def _written(inference: Inference, packing: Packing) -> tuple[Arrays, list[dict[str, Any]]]:
    """Return the arrays of the file, and the entries of its header on the quantized layers."""
    kept = _kept_state(inference.network, _entries(inference.network, inference.codes))
    extra = extra_states(kept)
    arrays: Arrays = {f"extra/{name}": encoded(name, value).numpy() for name, value in extra.items()}
    arrays |= {f"state/{name}": _numpy(name, value) for name, value in kept.items() if name not in extra}
    layers: list[dict[str, Any]] = []
    modules = dict(inference.network.named_modules(remove_duplicate=False))
    for name, found in inference.codes.items():
        layer, _ = named_weight(modules, name) or ("", "")
        of_filters = scale_shape(modules[layer], tuple(found.planes[0].codes.shape))
        planes = [
            _write_plane(arrays, f"{name}/{number}", plane, packing, of_filters)
            for number, plane in enumerate(found.planes)
        ]
        layers.append({"name": name, "shape": tuple(found.planes[0].codes.shape), "planes": planes})
    return arrays, layers


def load(path: Path | str, model: nn.Module | None = None) -> nn.Module:
    """Return the network of a file that `save` wrote, ready for inference.

    Its logits are those of the trained network in evaluation mode, bit for bit on the same machine and in the same
    memory format (but for rounding when BatchNorm is folded, and where torch multiplies by another path: a linear layer
    whose input is not contiguous, without gradients); it is a plain network whose weights are codes times scale.

    Args:
        path: path of the file.
        model: the network without quantization, for networks that ternlab does not build; changed in place, and left
            alone on an error. Its parameters are replaced by new ones on the same devices.

    Raises:
        FileFormatError: the file is damaged, forged, of a later version, no packed network, or that of another
            network than `model`.
        SettingsError: the network is not known, or `model` is quantized already.
    """
    file = _opened(Path(path), model)
    state = file.state()
    network = file.network
    if model is None and _has_unsaved_buffers(network):
        network = _build(file.header, file.path, "cpu")
    for convolution, norm in file.header.folded:
        layer: Any = network.get_submodule(convolution)
        layer.bias = nn.Parameter(layer.weight.new_empty(layer.out_channels))
        replace_by_identity(network, norm)
    own = network.state_dict()
    for name, value in own.items():
        if not isinstance(value, Tensor):
            continue
        given = state.get(name)
        # What is left is BatchNorm's count of batches, which has no meaning in inference.
        there = torch.zeros((), dtype=value.dtype) if given is None else given
        state[name] = there if value.is_meta else there.to(value.device)
    # Assigned and not copied: layers that share a parameter may differ in their codes.
    network.load_state_dict(with_versions(state, network), strict=True, assign=True)
    return network.eval()


def read_codes(path: Path | str, model: nn.Module | None = None) -> dict[str, Codes]:
    """Return integer codes and scales of every quantized layer of a packed file, by name; arguments as `load`.

    `model` is only compared with the file and is left as it is. The scales of a folded file hold BatchNorm's factors.

    Raises:
        FileFormatError, SettingsError: as `load`.
    """
    return dict(_opened(Path(path), model).codes())


@dataclass(frozen=True)
class _Opened:
    """A file whose header and arrays fit its network; nothing is decoded yet.

    Attributes:
        names: those of each quantized weight in the network's state; several where a layer has several names.
    """

    path: Path
    header: PackedHeader
    arrays: Arrays
    network: nn.Module
    names: dict[str, list[str]]

    def codes(self) -> Iterator[tuple[str, Codes]]:
        """Yield name and codes of every layer."""
        modules = dict(self.network.named_modules(remove_duplicate=False))
        for layer in self.header.layers:
            place = named_weight(modules, layer.name)
            assert place is not None, "checked by _quantized_names"
            try:
                yield layer.name, _read_layer(self.arrays, layer, modules[place[0]])
            except coding.CodingError as error:
                raise FileFormatError(
                    f"{self.path}: the codes of {shown(layer.name)} do not match its header ({error})\n"
                    "  instead: export it again"
                ) from None

    def state(self) -> dict[str, Any]:
        """Return what the file holds as the entries of the network's state."""
        state: dict[str, Any] = {
            name.removeprefix("state/"): torch.from_numpy(value.copy())
            for name, value in self.arrays.items()
            if name.startswith("state/")
        }
        for name, value in self.arrays.items():
            if name.startswith("extra/"):
                state[name.removeprefix("extra/")] = self._extra_state(name, value)
        for layer, found in self.codes():
            weight = found.effective()
            state |= dict.fromkeys(self.names[layer], weight)
        return state

    def _extra_state(self, name: str, value: NDArray[Any]) -> Any:
        try:
            return decoded(torch.from_numpy(value.copy()))
        except Exception as error:  # damaged bytes fail in any way
            raise FileFormatError(
                f"{self.path}: {shown(name)} cannot be read ({type(error).__name__})\n  instead: export it again"
            ) from error


def _opened(path: Path, model: nn.Module | None) -> _Opened:
    """Read the file and compare it with its network before anything is decoded: a forged size allocates nothing."""
    values, arrays = read_container(path)
    header = checked_header(values, path)
    network = _build(header, path, "meta") if model is None else model
    names = _quantized_names(header, network, path)
    _check_folded(header, network, path)
    expected = _expected(header, network)
    missing, additional = sorted(expected.keys() - arrays.keys()), sorted(arrays.keys() - expected.keys())
    if missing or additional:
        what = f"has no {shown(missing[0])}" if missing else f"has {shown(additional[0])}, unlike the network"
        raise _misfit(path, what)
    for name, like in expected.items():
        if like is not None:
            _check_array(path, name, arrays[name], like, built=model is None)
    if model is None:
        _one_precision(arrays, _misfit(path, _MIXED))
    return _Opened(path, header, arrays, network, names)


def _expected(header: PackedHeader, network: nn.Module) -> dict[str, tuple[tuple[int, ...], torch.dtype] | None]:
    """Return the names of all arrays of the file; with shape and dtype for those of the network's state."""
    quantized = _entries(network, [layer.name for layer in header.layers])
    norms = {network.get_submodule(norm) for _, norm in header.folded}
    convolutions = {network.get_submodule(convolution) for convolution, _ in header.folded}
    kept = _kept_state(network, quantized, norms)
    expected: dict[str, tuple[tuple[int, ...], torch.dtype] | None] = {
        f"state/{name}": (tuple(value.shape), value.dtype) for name, value in kept.items() if isinstance(value, Tensor)
    }
    expected |= dict.fromkeys((f"extra/{name}" for name in extra_states(kept)), None)
    for name, module in network.named_modules(remove_duplicate=False):
        if module in convolutions:
            like: Any = module
            expected[f"state/{entry_of(name, 'bias')}"] = (like.out_channels,), like.weight.dtype
    for layer in header.layers:
        for number, plane in enumerate(layer.planes):
            kinds = ("codes", "scale", "negative_scale") if plane.negative_scale else ("codes", "scale")
            expected |= {f"{kind}/{layer.name}/{number}": None for kind in kinds}
    return expected


def _check_array(
    path: Path, name: str, array: NDArray[Any], like: tuple[tuple[int, ...], torch.dtype], *, built: bool
) -> None:
    shape, dtype = like
    found = torch.from_numpy(array).dtype if array.dtype.kind in "fiub" else None
    # A network that ternlab builds takes the precision of the file.
    fits = found == dtype or (built and found is not None and found.is_floating_point and dtype.is_floating_point)
    if array.shape != shape or not fits:
        raise _misfit(path, f"has {shown(name)} as {array.dtype} {array.shape}, but the network has {dtype} {shape}")


_MIXED = "mixes several precisions"


def _one_precision(arrays: Arrays, error: TernlabError) -> None:
    if len({array.dtype for array in arrays.values() if array.dtype.kind == "f"}) > 1:
        raise error


def _misfit(path: Path, what: str) -> FileFormatError:
    return FileFormatError(
        f"{path}: does not match the network: it {what}\n  instead: the network that was exported to the file"
    )


def _entries(network: nn.Module, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the entries of the network's state that hold each named weight; several where a layer has several names.

    Names that the network does not have are left out.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    aliases: dict[nn.Module, list[str]] = {}
    for name, module in modules.items():
        aliases.setdefault(module, []).append(name)
    found = {name: named_weight(modules, name) for name in names}
    return {
        name: [entry_of(alias, place[1]) for alias in aliases[modules[place[0]]]]
        for name, place in found.items()
        if place is not None
    }


def _kept_state(
    network: nn.Module,
    quantized: Mapping[str, list[str]],
    left_out: set[nn.Module] | frozenset[nn.Module] = frozenset(),
) -> dict[str, Any]:
    """Return the network's state without the quantized weights and BatchNorm's batch counts."""
    state = network.state_dict()
    for entries in quantized.values():
        for entry in entries:
            state.pop(entry, None)
    for name, module in network.named_modules(remove_duplicate=False):
        if module in left_out:
            for own in module.state_dict():
                state.pop(entry_of(name, own), None)
        if isinstance(module, _NormBase):
            state.pop(entry_of(name, "num_batches_tracked"), None)
    return state


def _numpy(name: str, value: Any) -> NDArray[Any]:
    if not isinstance(value, Tensor) or value.dtype not in _DTYPES:
        kind = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__
        raise SettingsError(
            name, value=kind, rule="packed files store only float32", instead="call model.float() first"
        )
    return value.detach().cpu().contiguous().numpy()


def _write_plane(
    arrays: Arrays, place: str, plane: Plane, packing: Packing, of_filters: tuple[int, ...] | None = None
) -> PlaneHeader:
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
        arrays[f"{name}/{place}"] = _numpy(place, scale)
        if reason := _wrong_scale(scale, of_filters or scale_shape(None, tuple(plane.codes.shape))):
            raise SettingsError(place, rule=reason, instead="a fully trained network")
    return PlaneHeader(
        alphabet=(alphabet.start, alphabet.stop, alphabet.step),
        packing=packing,
        negative_scale=plane.negative_scale is not None,
        counts=tuple(counts),
    )


def _read_layer(arrays: Arrays, layer: LayerHeader, module: nn.Module) -> Codes:
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


def _build(header: PackedHeader, path: Path, device: str) -> nn.Module:
    """Return the network; on the meta device it takes no memory until its arrays are known to fit."""
    found = header.architecture
    if found is None:
        raise SettingsError(
            "file",
            value=str(path),
            rule="does not say which network it is",
            instead="pass model=, the plain network",
        )
    if found.model["name"] not in MODELS:
        raise SettingsError(
            "model.name",
            value=shown(found.model["name"]),
            rule=f"the network of {path} is not registered",
            instead="import the module that registers it, or load(file, model=your_network)",
        )
    settings = model_settings(found.model)
    try:
        # Drawing first weights must not change what the caller draws next.
        with torch.random.fork_rng(devices=[]), torch.device(device):
            network = build_model(settings, channels=found.channels, size=found.size, classes=len(found.classes))
    except TernlabError:
        raise
    except Exception as error:  # builders raise what they like
        raise FileFormatError(
            f"{path}: its network cannot be built ({type(error).__name__})\n  instead: load(file, model=your_network)"
        ) from error
    elements = sum(value.numel() for value in itertools.chain(network.parameters(), network.buffers()))
    if elements > _MOST_PARAMETERS:
        raise FileFormatError(
            f"{path}: claims {elements} parameters, which is too many\n  instead: load(file, model=your_network)"
        )
    return network


def _quantized_names(header: PackedHeader, network: nn.Module, path: Path) -> dict[str, list[str]]:
    """Return the names of each quantized weight in the network's state, by the layer's name in the header."""
    own = {name: tuple(value.shape) for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    every = _entries(network, [layer.name for layer in header.layers])
    if any("parametrizations" in name.split(".") for name in own) and any(
        entry not in own for entries in every.values() for entry in entries
    ):
        raise SettingsError("model", rule="is already quantized", instead="the network from before quantize()")
    taken: set[str] = set()
    for layer in header.layers:
        entries = every.get(layer.name, [])
        there = own.get(entries[0]) if entries else None
        if there != layer.shape:
            raise FileFormatError(
                f"{path}: has weights of shape {shown(layer.shape)} for the layer {shown(layer.name)}, but the network "
                f"has {there or 'no such layer'}\n  instead: the network that was exported to the file"
            )
        if not taken.isdisjoint(entries):
            raise FileFormatError(f"{path}: has the layer {shown(layer.name)} twice\n  instead: export it again")
        taken.update(entries)
    return every


def _check_folded(header: PackedHeader, network: nn.Module, path: Path) -> None:
    known = set(foldable_pairs(network)) if header.folded else set()
    for pair in header.folded:
        if pair not in known:
            raise FileFormatError(
                f"{path}: folds {shown(pair[1])} into {shown(pair[0])}, unlike the network\n"
                "  instead: the network that was exported to the file"
            )
        known.remove(pair)


def _has_unsaved_buffers(network: nn.Module) -> bool:
    """Return whether the network computes with tensors that its state does not hold."""
    saved = network.state_dict()
    tensors = itertools.chain(network.named_buffers(), network.named_parameters())
    return any(name not in saved for name, _ in tensors)
