"""Conversion between a configuration and typed settings; the only place where configuration becomes typed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ternlab.core.check import checked
from ternlab.core.dotted import put
from ternlab.core.errors import SettingsError
from ternlab.core.fields import changed_defaults
from ternlab.core.typed import assignment
from ternlab.quantizers.registry import RULES
from ternlab.settings.algorithm import algorithm_config, algorithm_settings
from ternlab.settings.objectives import objectives_config, objectives_settings
from ternlab.settings.quant import quant_settings
from ternlab.settings.root import Settings

# Settings that a baseline always shares with its run.
_NOT_OF_A_RECIPE = frozenset({"paths", "force", "plugins", "ckpt_path", "logger"})
_EXAMPLE = assignment("baseline.overrides", ["optim.lr=0.1"])


def settings_from_config(config: Mapping[str, Any]) -> Settings:
    """Validate a resolved configuration.

    Args:
        config: plain nested values, as composed by Hydra and stored in `config.yaml`.

    Raises:
        SettingsError: something cannot be used; reports the first problem found.
    """
    _refuse_targets(config)
    import_plugins(config.get("plugins") or ())
    values = dict(config)
    quant = quant_settings(values.pop("quant", None) or {})
    algorithm = algorithm_settings(values.pop("algorithm", None) or {})
    objectives = objectives_settings(values.pop("objectives", None) or {})
    settings = checked(Settings, values).model_copy(
        update={"quant": quant, "algorithm": algorithm, "objectives": objectives}
    )
    _check_pairs(settings)
    return settings


def of_any_version(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of an existing run, with the original defaults of options that did not exist then.

    Only rules have such options (`changed_default`); all others are in every configuration.
    """
    quant = dict(config.get("quant") or {})
    quant["layers"] = [_of_any_version(dict(entry)) for entry in quant.get("layers") or ()]
    return {**config, "quant": _of_any_version(quant)}


def _of_any_version(rule: dict[str, Any]) -> dict[str, Any]:
    entry = RULES.get(str(rule.get("name")))
    return {**(changed_defaults(entry.options) if entry else {}), **rule}


def config_of(settings: Settings) -> dict[str, Any]:
    """Return the configuration from which `settings_from_config` builds equal settings."""
    config = settings.model_dump(mode="json")
    rule = config["quant"].pop("rule")
    if settings.quant.network_rule.active:
        config["quant"] |= rule
    config["quant"]["layers"] = [entry.typed() for entry in settings.quant.layers]
    config["algorithm"] = algorithm_config(settings.algorithm)
    config["objectives"] = objectives_config(settings.objectives)
    return config


def twin_of(settings: Settings) -> Settings:
    """Return the settings of a quantized run's full-precision baseline: same recipe and seed, no quantization.

    The baseline is trained only on labels, whatever the algorithm and loss terms of the run.

    Raises:
        SettingsError: `baseline.overrides` is not a list of `name=value`, or yields invalid settings.
    """
    config = config_of(settings)
    config["quant"] = {"name": "none"}
    config["algorithm"], config["objectives"] = {}, {}
    config["baseline"] = {}
    config["ckpt_path"] = None
    config["force"] = False
    for override in settings.baseline.overrides:
        _assign(config, override)
    twin = settings_from_config(config)
    if twin.quant.active:
        raise SettingsError(
            "baseline.overrides",
            value=list(settings.baseline.overrides),
            rule="a baseline must be in full precision",
            instead=f"{_EXAMPLE} (settings outside quant)",
        )
    return twin


def _assign(config: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals:
        raise SettingsError(
            "baseline.overrides",
            value=override,
            rule="must be name=value",
            instead=_EXAMPLE,
        )
    if name.partition(".")[0] in _NOT_OF_A_RECIPE:
        raise SettingsError(
            "baseline.overrides",
            value=override,
            rule=f"{name} is not part of the recipe; the baseline uses the run's",
            instead=f"{_EXAMPLE} (settings of model, data, optim or trainer)",
        )
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        rule = f"{text!r} is not a valid value"
        raise SettingsError("baseline.overrides", value=override, rule=rule, instead=_EXAMPLE) from error
    try:
        put(config, name, value)
    except ValueError as error:
        rule = f"{error} is not a group of settings"
        raise SettingsError("baseline.overrides", value=override, rule=rule, instead=_EXAMPLE) from None


def _refuse_targets(config: Mapping[str, Any]) -> None:
    if not _has_private_key(config):
        return
    for name in _keys(config):
        if name.rpartition(".")[2].startswith("_"):
            raise SettingsError(
                name,
                rule="settings name things and never run code, so keys such as _target_ are not allowed",
                instead="register the part in your own module and load that with plugins=[your_module]",
            )


def _has_private_key(value: Any) -> bool:
    """Return whether any key starts with an underscore; does not build the dotted names, which would cost more."""
    if isinstance(value, dict):
        return any(str(key).rpartition(".")[2].startswith("_") for key in value) or any(
            _has_private_key(inner) for inner in value.values() if isinstance(inner, dict | list | Mapping)
        )
    if isinstance(value, list):
        return any(_has_private_key(inner) for inner in value if isinstance(inner, dict | list | Mapping))
    # Other mapping types are rare; the slow path checks them.
    return isinstance(value, Mapping)


def _keys(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            dotted = f"{name}.{key}" if name else str(key)
            yield dotted
            yield from _keys(inner, dotted)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner, name)


def import_plugins(names: Any) -> None:
    """Import modules that register networks, data sets, rules, algorithms or loss terms.

    Raises:
        SettingsError: not a list, or a module cannot be imported.
    """
    if not isinstance(names, list | tuple):
        instead = assignment("plugins", [names] if isinstance(names, str) else [])
        raise SettingsError("plugins", value=names, rule="must be a list of modules", instead=instead)
    for name in names:
        try:
            importlib.import_module(str(name))
        except ImportError as error:
            raise SettingsError(
                "plugins",
                value=str(name),
                rule=f"cannot be imported ({error})",
                instead="export PYTHONPATH=FOLDER, with the folder that contains the module",
            ) from error


def _check_pairs(settings: Settings) -> None:
    """Reject settings that are valid individually but not in combination."""
    settings.algorithm.options.check(settings)
    if settings.quant.sequential and settings.trainer.accumulate_grad_batches > 1:
        raise SettingsError(
            "trainer.accumulate_grad_batches",
            value=settings.trainer.accumulate_grad_batches,
            rule="the two passes of quant.update=sequential would accumulate gradients at different thresholds",
            instead="quant.update=joint, or trainer.accumulate_grad_batches=1 (and a larger data.batch_size)",
        )
    if settings.quant.reading is not None and settings.quant.init == "scratch" and settings.model.weights is None:
        raise SettingsError(
            "model.weights",
            rule=f"is missing: quant={settings.quant.reading} reads codes and scales from weights",
            instead="model.weights=FILE",
        )
    processes = settings.trainer.devices * settings.trainer.nodes
    if settings.data.batch_size % processes:
        raise SettingsError(
            "data.batch_size",
            value=settings.data.batch_size,
            rule=f"is the total over all {processes} processes, so it must be a multiple of {processes}",
            instead=f"data.batch_size={max(1, settings.data.batch_size // processes) * processes}",
        )
    if settings.baseline.overrides and settings.baseline.run:
        raise SettingsError(
            "baseline.overrides",
            value=list(settings.baseline.overrides),
            rule=f"changes the baseline's recipe, but baseline.run={settings.baseline.run} names a finished run",
            instead="baseline.run=null, or 'baseline.overrides=[]'",
        )
