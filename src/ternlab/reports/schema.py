"""Names and defaults of all settings, and what of a run's settings makes it another run than its repeats."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from ternlab.models.registry import MODELS
from ternlab.optimizers.registry import OPTIMIZERS
from ternlab.quantizers.registry import RULES
from ternlab.reports.flat import Flat, flat
from ternlab.settings.family import option_defaults
from ternlab.settings.fields import free_fields
from ternlab.settings.root import Settings

_SEED = "seed"


@functools.cache
def defaults(rule: str | None, model: str | None = None) -> Mapping[str, Any]:
    """Return the defaults of all settings by dotted names.

    Those of the rule `rule` are among them when it is known, and those of all networks and optimizers: what a run
    froze may have options that its network does not have. Where networks differ, the default of `model` counts.
    """
    values = flat(Settings().model_dump(mode="json", exclude={"quant": {"rule"}, "model": True, "optim": True}))
    values |= flat(option_defaults(MODELS, model), "model.") | flat(option_defaults(OPTIMIZERS, None), "optim.")
    if rule is not None and rule in RULES:
        values |= _options_of(rule)
    return values


def _options_of(rule: str) -> Flat:
    try:
        return flat(RULES[rule].options().model_dump(mode="json"), "quant.")
    except ValueError:
        # A rule of someone else's may have an option without a default.
        return {}


@functools.cache
def setting_names() -> frozenset[str]:
    """Return the dotted names of all settings, with the options of every registered rule."""
    return frozenset(name for rule in (None, *RULES) for name in defaults(rule))


@functools.cache
def free_settings() -> frozenset[str]:
    """Return the settings that cannot change a result; whole groups by their names."""
    return frozenset(_free(Settings, ""))


def _free(section: type[BaseModel], prefix: str) -> Iterator[str]:
    free = free_fields(section)
    for name, field in section.model_fields.items():
        if name in free:
            yield prefix + name
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _free(field.annotation, f"{prefix}{name}.")


def is_free(name: str) -> bool:
    """Return whether the setting `name` is one that cannot change a result."""
    free = free_settings()
    return name in free or name.partition(".")[0] in free


def differing(settings: Flat) -> Flat:
    """Return the settings of a run that are not at their defaults."""
    known = defaults(settings.get("quant.name"), settings.get("model.name"))
    return {name: value for name, value in settings.items() if name not in known or known[name] != value}


def recipe(settings: Flat) -> Flat:
    """Return what makes runs repeats of one another when it is equal: all that counts for the result but the seed.

    Settings at their defaults are left out, as in the id of a run, so that runs of before a setting was added fit.
    Own data and weights count by their paths here, since their contents may be gone: data that was moved
    makes another group, and never are different data taken for the same.
    """
    full_precision = settings.get("quant.name", "none") == "none"
    return {
        name: value
        for name, value in differing(settings).items()
        if (not is_free(name) or (name == "data.root" and value is not None))
        and name != _SEED
        and not (full_precision and name.startswith(("quant.", "baseline.")))
    }


def recipes(settings: Mapping[str, Flat], baselines: Mapping[str, str | None]) -> dict[str, Flat]:
    """Return the recipe of every run.

    A baseline that was typed (`baseline.run=ID`) has the seed of its run, so it counts by its own recipe.

    Args:
        settings: flat settings by run id.
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
