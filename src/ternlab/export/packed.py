"""Packed networks: compactly stored integer codes, everything else in full precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ternlab import __version__
from ternlab.core.check import checked
from ternlab.core.errors import SettingsError, TernlabError, did_you_mean
from ternlab.export import coding
from ternlab.export.container import Arrays, FileFormatError, read_container, shown, write_container
from ternlab.export.folding import Inference, inference_network, replace_by_identity
from ternlab.export.header import Architecture, PackedHeader, Packing, checked_header
from ternlab.export.packed_network import check_folded, has_unsaved_buffers, network_of, quantized_names
from ternlab.export.packed_planes import read_layer, write_plane
from ternlab.export.packed_state import as_numpy, entries_of, kept_state
from ternlab.models.extra_state import decoded, encoded, extra_states
from ternlab.models.versions import with_versions
from ternlab.quantizers.base import Codes
from ternlab.quantizers.filters import scale_shape
from ternlab.quantizers.full_precision import full_precision
from ternlab.quantizers.weights import entry_of, named_weight


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
    kept = kept_state(inference.network, entries_of(inference.network, inference.codes))
    extra = extra_states(kept)
    arrays: Arrays = {f"extra/{name}": encoded(name, value).numpy() for name, value in extra.items()}
    arrays |= {f"state/{name}": as_numpy(name, value) for name, value in kept.items() if name not in extra}
    layers: list[dict[str, Any]] = []
    modules = dict(inference.network.named_modules(remove_duplicate=False))
    for name, found in inference.codes.items():
        place = named_weight(modules, name)
        assert place is not None, "the codes are those of the network's own weights"
        of_filters = scale_shape(modules[place[0]], tuple(found.planes[0].codes.shape))
        planes = [
            write_plane(arrays, f"{name}/{number}", plane, packing, of_filters)
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
    if model is None and has_unsaved_buffers(network):
        network = network_of(file.header, file.path, "cpu")
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
            assert place is not None, "checked by quantized_names"
            try:
                yield layer.name, read_layer(self.arrays, layer, modules[place[0]])
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
    network = network_of(header, path, "meta") if model is None else model
    names = quantized_names(header, network, path)
    check_folded(header, network, path)
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
    quantized = entries_of(network, [layer.name for layer in header.layers])
    norms = {network.get_submodule(norm) for _, norm in header.folded}
    convolutions = {network.get_submodule(convolution) for convolution, _ in header.folded}
    kept = kept_state(network, quantized, norms)
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
