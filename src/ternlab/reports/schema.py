"""Names and defaults of all settings, and the settings that distinguish a run from its repeats."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from ternlab.algorithms.registry import ALGORITHMS
from ternlab.algorithms.registry import DEFAULT as SUPERVISED
from ternlab.core.by_name import option_defaults
from ternlab.core.fields import Section, free_fields
from ternlab.loggers.registry import LOGGERS
from ternlab.models.registry import MODELS
from ternlab.optimizers.registry import OPTIMIZERS
from ternlab.quantizers.plan import FULL_PRECISION, matches
from ternlab.quantizers.registry import RULES
from ternlab.reports.run_rows import Flat, flat
from ternlab.settings.root import Settings

_SEED = "seed"


@functools.cache
def defaults(rule: str | None, algorithm: str | None = SUPERVISED, model: str | None = None) -> Mapping[str, Any]:
    """Return the defaults of all settings by dotted names.

    Those of the rule and of the algorithm are among them when they are known, and those of all networks,
    optimizers and loggers: what a run froze may have options that its network does not have. Where networks differ,
    the default of `model` counts. Loss terms have names of their own, so `objectives` is not among them.
    """
    by_name = {"model": True, "optim": True, "logger": True, "objectives": True}
    left_out: Any = {"quant": {"rule"}, "algorithm": {"options"}, **by_name}
    values = flat(Settings().model_dump(mode="json", exclude=left_out))
    values |= flat(option_defaults(LOGGERS, None), "logger.")
    values |= flat(option_defaults(MODELS, model), "model.") | flat(option_defaults(OPTIMIZERS, None), "optim.")
    if rule is not None and rule in RULES:
        values |= _options_of(RULES[rule].options, "quant.")
    if algorithm is not None and algorithm in ALGORITHMS:
        values |= _options_of(ALGORITHMS[algorithm].options, "algorithm.")
    return values


def defaults_for(settings: Flat) -> Mapping[str, Any]:
    """Return the defaults of all settings by dotted names, with those of a run's own rule, algorithm and network."""
    return defaults(settings.get("quant.name"), settings.get("algorithm.name", SUPERVISED), settings.get("model.name"))


def _options_of(options: type[Section], prefix: str) -> Flat:
    try:
        return flat(options().model_dump(mode="json"), prefix)
    except ValueError:
        # A plugin may have an option without a default.
        return {}


@functools.cache
def setting_names() -> frozenset[str]:
    """Return the dotted names of all settings, with the options of every registered rule and algorithm."""
    of_rules = (name for rule in (None, *RULES) for name in defaults(rule))
    return frozenset((*of_rules, *(name for algorithm in ALGORITHMS for name in defaults(None, algorithm))))


@functools.cache
def free_settings() -> frozenset[str]:
    """Return the settings that cannot affect a result; whole groups by their names."""
    return frozenset(_free(Settings, ""))


def _free(section: type[BaseModel], prefix: str) -> Iterator[str]:
    free = free_fields(section)
    for name, field in section.model_fields.items():
        if name in free:
            yield prefix + name
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _free(field.annotation, f"{prefix}{name}.")


def is_free(name: str) -> bool:
    """Return whether the setting `name` cannot affect a result."""
    free = free_settings()
    return name in free or name.partition(".")[0] in free


def is_quantized(settings: Flat) -> bool:
    """Return whether the settings of a run quantize anything: by a rule of the network, or of single layers."""
    return settings.get("quant.name", FULL_PRECISION) != FULL_PRECISION or bool(settings.get("quant.layers"))


def layer_option(settings: Flat, layer: str, name: str) -> Any:
    """Return an option of the rule of one layer, `None` where its rule does not have it."""
    own = {name.removeprefix("quant."): value for name, value in settings.items() if name.startswith("quant.")}
    entries = [flat(entry) for entry in own.get("layers") or () if isinstance(entry, dict)]
    values = next((entry for entry in entries if matches(layer, str(entry.get("match")))), own)
    return values.get(name, defaults(values.get("name")).get(f"quant.{name}"))


def differing(settings: Flat) -> Flat:
    """Return the settings of a run that differ from their defaults."""
    known = defaults_for(settings)
    return {name: value for name, value in settings.items() if name not in known or known[name] != value}


def recipe(settings: Flat) -> Flat:
    """Return what makes runs repeats of one another when it is equal: all that counts for the result but the seed.

    Settings at their defaults are left out, as in the ID of a run, so that runs of before a setting was added fit.
    Own data and weights count by their paths here, since their contents may be gone: data that was moved
    makes another group, and never are different data taken for the same.
    """
    quantized = is_quantized(settings)
    return {
        name: value
        for name, value in differing(settings).items()
        if (not is_free(name) or (name == "data.root" and value is not None))
        and name != _SEED
        and not (not quantized and name.startswith(("quant.", "baseline.")))
    }


def recipes(settings: Mapping[str, Flat], baselines: Mapping[str, str | None]) -> dict[str, Flat]:
    """Return the recipe of every run.

    A baseline that was typed (`baseline.run=ID`) has the seed of its run, so it counts by its own recipe.

    Args:
        settings: flat settings by run ID.
        baselines: id of each run's baseline.
    """
    found = {run: recipe(values) for run, values in settings.items()}
    for run, own in found.items():
        if "baseline.run" in own:
            baseline = found.get(baselines.get(run) or "")
            own["baseline.run"] = own["baseline.run"] if baseline is None else as_key(baseline)
    return found


def as_key(values: Flat) -> str:
    """Return flat settings as text that is equal when they are."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
