"""Every setting by dotted name: those that are part of a run's ID, with another valid value, and those that are not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from ternlab.core.fields import Section
from ternlab.settings.algorithm import AlgorithmSettings
from ternlab.settings.load import settings_from_config
from ternlab.settings.quant import QuantSettings
from ternlab.settings.root import Settings

BASE: dict[str, Any] = {"model": {"name": "alexnet"}, "data": {"name": "digits"}, "quant": {"name": "tga"}}

# Another valid value for every setting that counts. A new setting is added here, or to FREE with its reason.
COUNTS: dict[str, Any] = {
    "seed": 1,
    "ckpt_path": "FILE",
    "model.name": "resnet18",
    "model.stem": "imagenet",
    "model.weights": "FILE",
    "model.weights_skip": ["fc.*"],
    "model.dropout": 0.5,
    "data.name": "mnist",
    "data.batch_size": 64,
    "data.val_fraction": 0.2,
    "data.split_seed": 1,
    "data.limit_train": 100,
    "data.image_size": 16,
    "data.resize": 20,
    "data.flip": True,
    "data.crop_padding": 1,
    "data.random_resized_crop": True,
    "data.storage": "memory",
    "data.on_error": "skip",
    "data.image_column": "img",
    "data.label_column": "fine_label",
    "data.test_part": "val",
    "data.channels": 3,
    "data.mean": [0.5],
    "data.std": [0.5],
    "data.class_names": ["a", "b"],
    "quant.name": "none",
    "quant.init": "scratch",
    "quant.init_file": "FILE",
    "quant.first_last": "full",
    "quant.include": ["features.*"],
    "quant.exclude": ["features.*"],
    "quant.layers": [{"match": "features.*", "name": "none"}],
    "quant.update": "sequential",
    "quant.threshold.init": 0.1,
    "quant.threshold.unit": "sigma",
    "quant.threshold.lr": 0.1,
    "quant.threshold.clamp": None,
    "quant.scale": "centered",
    "quant.stats_grad": False,
    "quant.gradient_correction": False,
    "quant.surrogate.kind": "stable",
    "quant.surrogate.bound": 0.5,
    "quant.surrogate.amplitude": 0.1,
    "quant.rel.factors": [0.05, 0.1],
    "algorithm.name": "distillation",
    "objectives": {"dampening": {"weight": 0.1}},
    "optim.name": "adam",
    "optim.lr": 0.1,
    "optim.momentum": 0.8,
    "optim.nesterov": False,
    "optim.betas": [0.9, 0.99],
    "optim.eps": 1e-7,
    "optim.weight_decay": 1e-3,
    "optim.decay_bn": True,
    "optim.decay_bias": True,
    "optim.label_smoothing": 0.1,
    "optim.schedule.name": "constant",
    "optim.schedule.milestones": [1.0],
    "optim.schedule.factors": [0.1],
    "optim.schedule.warmup_epochs": 2.0,
    "optim.schedule.final": 0.1,
    "trainer.max_epochs": 11,
    "trainer.accumulate_grad_batches": 2,
    "trainer.gradient_clip_val": 1.0,
    "trainer.precision": "bf16-mixed",
    "trainer.channels_last": False,
    "baseline.run": "digits-alexnet-none-s0-0123456789",
    "baseline.overrides": ["optim.lr=0.1"],
}

# Settings that say where, how fast and how visibly a run is carried out, with other values of theirs.
FREE: dict[str, list[Any]] = {
    "data.root": ["/elsewhere", "~/data"],
    "data.download": [False],
    "data.eval_batch_size": [1, 512],
    "data.workers": [0, 7],
    "trainer.accelerator": ["cpu", "gpu"],
    "trainer.devices": [2, 4],
    "trainer.nodes": [2, 4],
    "trainer.find_unused_parameters": [True],
    "trainer.threads": [1, 8],
    "trainer.progress": ["rich", "plain"],
    "checkpoint.every_steps": [1, 100],
    "checkpoint.keep": [3, 9],
    "logger.name": ["wandb"],
    "logger.project": ["other"],
    "logger.entity": ["me"],
    "logger.group": ["mine"],
    "logger.mode": ["offline"],
    "paths.runs": ["/runs"],
    "paths.data": ["/data"],
    "paths.sweeps": ["/sweeps"],
    "force": [True],
    "tags": [["a"], ["a", "b"]],
    # What a plugin registers is in the id by its name.
    "plugins": [["tests.tiny"]],
}


def with_(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `config` with settings changed by dotted name."""
    changed = copy.deepcopy(config)
    for name, value in changes.items():
        *parents, leaf = name.split(".")
        branch = changed
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return changed


def settings(**changes: Any) -> Settings:
    return settings_from_config(with_(BASE, changes))


def leaves(section: Section, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings, as they are typed: a rule's options stand in `quant`, and so on."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            flat = (type(section), name) in ((QuantSettings, "rule"), (AlgorithmSettings, "options"))
            inside = prefix if flat else f"{prefix}{name}."
            yield from leaves(value, inside)
        else:
            yield prefix + name
