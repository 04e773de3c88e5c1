"""What a run is: every setting that can change the result, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ternlab.core.fields import Section
from ternlab.runs.identity import IDENTITY_VERSION, identity, run_id
from ternlab.settings.load import settings_from_config
from tests.commands.run_command import ROOT
from tests.runs.identity_settings import BASE, COUNTS, FREE, leaves, settings


def test_every_setting_is_either_counted_or_free() -> None:
    assert sorted(leaves(settings())) == sorted([*COUNTS, *FREE])


@pytest.mark.parametrize("name", COUNTS)
def test_a_setting_that_counts_changes_the_id(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"weights")
    value = str(file) if COUNTS[name] == "FILE" else COUNTS[name]
    base: dict[str, Any] = {}
    if name == "quant.init_file":
        (tmp_path / "other").write_bytes(b"other weights")
        base = {"quant.init": "file", "quant.init_file": str(tmp_path / "other")}
    before, after = settings(**base), settings(**{**base, name: value})
    assert before != after
    assert run_id(before) != run_id(after)
    # One by one they also differ from each other.
    assert json.dumps(identity(before)) != json.dumps(identity(after))


@pytest.mark.parametrize("name", FREE)
def test_a_free_setting_does_not_change_the_id(name: str) -> None:
    for value in FREE[name]:
        changed = settings(**{name: value})
        assert changed != settings()
        assert run_id(changed) == run_id(settings())


@given(
    st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in FREE.items()}),
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**31),
            "optim.lr": st.floats(1e-6, 10),
            "data.batch_size": st.sampled_from([64, 128]),
            "quant.threshold.init": st.floats(0, 1),
        },
    ),
)
def test_no_choice_of_free_settings_changes_the_id_of_any_run(free: dict[str, Any], counted: dict[str, Any]) -> None:
    assert run_id(settings(**counted, **free)) == run_id(settings(**counted))


@given(st.dictionaries(st.sampled_from(["seed", "data.limit_train"]), st.integers(1, 10**9), min_size=1), st.data())
def test_different_values_give_different_ids(counted: dict[str, Any], data: st.DataObject) -> None:
    other = {name: data.draw(st.integers(1, 10**9)) for name in counted}
    assert (run_id(settings(**counted)) == run_id(settings(**other))) == (counted == other)


def test_all_single_changes_give_different_ids(tmp_path: Path) -> None:
    ids = {run_id(settings(**{name: value})) for name, value in COUNTS.items() if value != "FILE"}
    assert len(ids) == sum(value != "FILE" for value in COUNTS.values())
    assert run_id(settings()) not in ids


def defaults(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in leaves(section):
        value: Any = section.model_dump(mode="json")
        if name.startswith("quant.") and name.split(".")[1] not in value["quant"]:
            name_in_dump = name.replace("quant.", "quant.rule.", 1)
        else:
            name_in_dump = name
        for part in name_in_dump.split("."):
            value = value[part]
        yield name, value


def test_a_default_that_is_typed_is_the_default_that_is_left_out() -> None:
    for name, value in defaults(settings()):
        assert run_id(settings(**{name: value})) == run_id(settings()), name
    everything = {name: value for name, value in defaults(settings()) if name != "baseline.overrides"}
    assert run_id(settings(**everything)) == run_id(settings())


@pytest.mark.parametrize(
    ("name", "one", "same"),
    [
        ("optim.lr", 1, 1.0),
        ("trainer.precision", 32, "32"),
        ("optim.betas", [0.9, 0.99], (0.9, 0.99)),
        ("optim.weight_decay", "1e-4", 0.0001),
        ("data.flip", "true", True),
    ],
)
def test_two_ways_to_type_a_value_are_one_run(name: str, one: Any, same: Any) -> None:
    assert run_id(settings(**{name: one})) == run_id(settings(**{name: same}))


def test_seed_0_is_a_seed_like_any_other() -> None:
    assert run_id(settings(seed=0)) == run_id(settings())
    assert run_id(settings(seed=0)) != run_id(settings(seed=1))
    assert "-s0-" in run_id(settings(seed=0)) and "-s1-" in run_id(settings(seed=1))


@given(st.integers(0, 2**31), st.sampled_from(["resnet20", "alexnet"]), st.sampled_from(["tga", "none"]))
def test_an_id_is_readable_and_safe_everywhere(seed: int, model: str, rule: str) -> None:
    name = run_id(settings_from_config({"seed": seed, "model": {"name": model}, "quant": {"name": rule}}))
    assert re.fullmatch(rf"digits-{model}-{rule}-s{seed}-[0-9a-f]{{10}}", name)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name)


def test_an_id_is_the_same_in_another_process() -> None:
    code = (
        "from ternlab.settings.load import settings_from_config as s; from ternlab.runs.identity import run_id;"
        f"import sys; print(run_id(s({BASE!r}))); assert 'torch' not in sys.modules"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == run_id(settings()), done.stderr


# The values at which ids of this IDENTITY_VERSION leave a setting out: its default when it was added.
FROZEN_DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "model.stem": "auto",
    "model.weights": None,
    "model.weights_skip": [],
    "model.dropout": 0.0,
    "model.width": 1.0,
    "model.shortcut": "zeros_after",
    "data.batch_size": 128,
    "data.val_fraction": 0.1,
    "data.split_seed": 0,
    "data.limit_train": None,
    "data.image_size": None,
    "data.resize": None,
    "data.flip": False,
    "data.crop_padding": 0,
    "data.random_resized_crop": False,
    "data.storage": "auto",
    "data.on_error": "fail",
    "data.image_column": "image",
    "data.label_column": "label",
    "data.test_part": "auto",
    "data.channels": None,
    "data.mean": None,
    "data.std": None,
    "data.class_names": None,
    "quant.first_last": "ternary",
    "quant.include": ["*"],
    "quant.exclude": [],
    "quant.init": "baseline",
    "quant.init_file": None,
    "quant.update": "joint",
    "quant.threshold.init": 0.05,
    "quant.threshold.unit": "max",
    "quant.threshold.lr": None,
    "quant.threshold.clamp": 0.001,
    "quant.scale": "tga",
    "quant.stats_grad": True,
    "quant.gradient_correction": True,
    "optim.lr": 0.02,
    "optim.momentum": 0.9,
    "optim.nesterov": True,
    "optim.betas": [0.9, 0.999],
    "optim.eps": 1e-08,
    "optim.weight_decay": 0.0,
    "optim.decay_bn": False,
    "optim.decay_bias": False,
    "optim.label_smoothing": 0.0,
    "optim.schedule.name": "constant",
    "optim.schedule.milestones": [],
    "optim.schedule.factors": [],
    "optim.schedule.warmup_epochs": 0.0,
    "optim.schedule.final": 0.0,
    "trainer.max_epochs": 6,
    "trainer.accumulate_grad_batches": 1,
    "trainer.gradient_clip_val": None,
    "trainer.precision": "auto",
    "trainer.channels_last": "auto",
    "baseline.run": None,
    "baseline.overrides": [],
    "ckpt_path": None,
    "plugins": [],
}


def test_a_setting_is_left_out_at_the_value_at_which_it_was_left_out_before() -> None:
    # At another one, an old run would answer for a new one. A default that changes keeps it (`changed_default`).
    old = {"weight_decay": 0.0, "schedule": {"name": "constant", "warmup_epochs": 0.0}}
    now = {
        name: value
        for model in ("alexnet", "resnet20")
        for name, value in defaults(
            settings_from_config({"model": {"name": model}, "quant": {"name": "tga"}, "optim": old})
        )
    }
    plain = identity(settings_from_config({"quant": {"name": "tga"}, "optim": old}))
    assert plain["optim"] == {"name": "sgd", "schedule": {"name": "constant"}}
    assert IDENTITY_VERSION == 1
    assert {name: now[name] for name in FROZEN_DEFAULTS} == FROZEN_DEFAULTS


def test_ids_of_runs_that_exist_do_not_change() -> None:
    # When these must change, IDENTITY_VERSION is raised, and the runs on everybody's disks are not found any more.
    before = {"weight_decay": 0.0, "schedule": {"name": "constant", "warmup_epochs": 0.0}}
    assert run_id(settings_from_config({"optim": before})) == "digits-resnet20-none-s0-049d526501"
    assert run_id(settings_from_config({**BASE, "optim": before})) == "digits-alexnet-tga-s0-fc6365cea9"


def test_options_of_a_network_count_when_they_are_not_at_their_defaults() -> None:
    def of(**options: Any) -> str:
        return run_id(settings_from_config({"model": {"name": "resnet20", **options}}))

    assert of(width=1.0) == of(width=1) == of(dropout=0.0) == of()
    assert len({of(), of(width=0.5), of(width=0.25), of(stem="small")}) == 4
