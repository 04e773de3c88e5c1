"""Loads initial weights into a network, or reports exactly why they do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from ternlab.core.errors import SettingsError, near_matches
from ternlab.core.registry import imported
from ternlab.core.typed import assignment
from ternlab.models.extra_state import extra_states, is_extra_state
from ternlab.models.registry import MODELS
from ternlab.models.versions import versions_of, with_versions
from ternlab.models.weights_file import TORCHVISION
from ternlab.models.weights_read import read_file, read_torchvision

_MOST_LISTED = 10
_MOST_SKIPS = 4

State = dict[str, Any]


def load_weights(model: nn.Module, source: str, *, name: str, skip: Sequence[str] = ()) -> None:
    """Copy weights into `model`, all or nothing: on an error it is unchanged.

    Prefixes shared by all entries (`module.`, `model.`, `net.`) are removed, and published checkpoints are converted by
    the adapter of the network's family.

    Args:
        model: an ordinary network, not yet quantized.
        source: `torchvision` (its ImageNet weights), or a file: a saved state dict, a Lightning checkpoint or
            safetensors.
        name: the network's name in the registry.
        skip: name patterns (`fc.*`) of entries that are not loaded and keep their initialization.

    Raises:
        SettingsError: the weights are not available or cannot be read, a pattern matches nothing, or names or shapes do
            not match.
    """
    given = read_torchvision(name) if source == TORCHVISION else read_file(source)
    versions = versions_of(given)
    wanted = dict(model.state_dict())
    names = set(given) | set(wanted)
    # Skip before and after: entries outside the network (`criterion.weight`) would hide the shared prefix.
    given, prefix = _without_prefix(_unskipped(given, skip), wanted)
    # The name of the network itself has no dot at its end.
    versions = {f"{module}.".removeprefix(prefix).rstrip("."): version for module, version in versions.items()}
    if name in MODELS and (adapter := MODELS[name].adapter):
        extra = extra_states(given)
        given = imported(adapter)({key: value for key, value in given.items() if key not in extra}, model) | extra
    _check_patterns(skip, names | set(given))
    given, wanted = _unskipped(given, skip), _unskipped(wanted, skip)
    _check_fit(given, wanted, source)
    _check_finite(given, model, source)
    model.load_state_dict(with_versions(given, model, versions), strict=False)


def _without_prefix(given: State, wanted: State) -> tuple[State, str]:
    """Remove leading name parts that all entries of the file share and the network does not have; return them too."""
    prefix = ""
    while given:
        heads = {key.partition(".")[0] for key in given}
        shared = heads != {key.partition(".")[0] for key in wanted} and all("." in key for key in given)
        if len(heads) > 1 or not shared:
            break
        prefix += f"{next(iter(heads))}."
        given = {key.partition(".")[2]: value for key, value in given.items()}
    return given, prefix


def _unskipped(state: State, skip: Sequence[str]) -> State:
    return {key: value for key, value in state.items() if not _matches(key, skip)}


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _check_patterns(skip: Sequence[str], names: set[str]) -> None:
    for pattern in skip:
        if any(fnmatchcase(key, pattern) for key in names):
            continue
        modules = {f"{_module(key)}.*" for key in names}
        rest = [one for one in skip if one != pattern]
        others = [[*rest, near] for near in near_matches(pattern, names | modules)] or [rest]
        raise SettingsError(
            "model.weights_skip",
            value=pattern,
            rule="the pattern matches no entry of the network or of the file",
            instead=", or ".join(assignment("model.weights_skip", patterns) for patterns in others),
        )


def _check_fit(given: State, wanted: State, source: str) -> None:
    """Compare names and shapes; raise one SettingsError that lists all differences."""
    differing, description = describe_mismatch(given, wanted)
    if differing:
        raise SettingsError(
            "model.weights",
            value=source,
            rule="the weights do not fit the network" + description,
            instead=_remedy(differing, {*given, *wanted}, source),
        )
    if not given:
        rule = "every entry of the weights is skipped, so nothing would be loaded"
        raise SettingsError("model.weights_skip", rule=rule, instead="model.weights=null")


def _check_finite(given: State, model: nn.Module, source: str) -> None:
    """Refuse parameters that are not finite, and buffers with NaN (a mask may be infinite)."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, value in given.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        wrong = ~value.isfinite() if name in parameters else value.isnan()
        if count := int(wrong.sum()):
            raise SettingsError(
                "model.weights",
                value=source,
                rule=f"{count:,} of the {value.numel():,} values of {name} in the file are NaN or infinite",
                instead=f"model.weights=FILE (another file), or {assignment('model.weights_skip', [name])} "
                "(this entry is not loaded)",
            )


def describe_mismatch(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the names in which two states differ, and a description of the differences; both empty if there are none.

    Args:
        given: names and tensors of the file; a module's extra state may be any plain value.
        wanted: the same of the network; a file may lack its extra states that are no tensors.
    """
    optional = extra_states(wanted)
    # Files written before torch 0.4.1 have no batch counter, and nothing is computed from it.
    missing = [
        key for key in wanted if key not in given and key not in optional and not key.endswith(".num_batches_tracked")
    ]
    unexpected = [key for key in given if key not in wanted]
    shapes = [
        key for key in wanted if key in given and not is_extra_state(key) and given[key].shape != wanted[key].shape
    ]
    lines = (
        _listed("missing from the file", missing),
        _listed("unexpected in the file", unexpected),
        _listed("different shape", [_shapes(key, given[key], wanted[key]) for key in shapes]),
    )
    return [*shapes, *missing, *unexpected], "".join(lines)


def _listed(title: str, entries: list[str]) -> str:
    if not entries:
        return ""
    return f"\n  {title}: {', '.join(entries[:_MOST_LISTED])}{_more(entries)}"


def _more(entries: list[str]) -> str:
    more = len(entries) - _MOST_LISTED
    return f", and {more} more" if more > 0 else ""


def _shapes(key: str, given: Tensor, wanted: Tensor) -> str:
    return f"{key} (given {tuple(given.shape)}, needed {tuple(wanted.shape)})"


def _remedy(keys: list[str], names: set[str], source: str) -> str:
    """Suggest what to skip if few layers differ; many differences mean that it is another network."""
    modules = list(dict.fromkeys(_module(key) for key in keys))
    if len(modules) > _MOST_SKIPS:
        return "model.name=NAME (the network that the file was saved from)"
    skips = [pattern for module in modules for pattern in _patterns(module, keys, names)]
    advice = f"{assignment('model.weights_skip', skips)} (these entries are not loaded)"
    if source == TORCHVISION and "conv1" in modules:
        advice = f"model.stem=imagenet (the published first layer, with three-channel images), or {advice}"
    return advice


def _patterns(module: str, keys: list[str], names: set[str]) -> list[str]:
    """Return patterns of the entries of a module that differ; entries that fit are still loaded."""
    differing = [key for key in keys if _module(key) == module]
    if module in differing:
        # An entry that is in no module.
        return differing
    whole = {key for key in names if key.startswith(f"{module}.") and not key.endswith(".num_batches_tracked")}
    return [f"{module}.*"] if whole <= set(differing) else differing


def _module(key: str) -> str:
    return key.rpartition(".")[0] or key
