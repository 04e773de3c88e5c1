"""The recipes of the papers: complete, with the published numbers, and each one can be tried in a minute."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.data.fingerprint import check_pairs
from ternlab.data.registry import DATA_SETS
from ternlab.models.weights_file import check_weights
from ternlab.runs.identity import run_id
from ternlab.settings.load import settings_from_config, twin_of
from ternlab.settings.root import Settings
from tests.commands.run_command import ROOT
from tests.commands.warm_command import run

FOLDER = ROOT / "conf" / "experiment"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "compare_ternary")
CIFAR = [name for name in RECIPES if name.startswith("cifar10_")]
IMAGENET = [name for name in RECIPES if name.startswith("imagenet_")]

# "Training recipes" of the reference: copied, so that a slip in a recipe is seen.
CIFAR_NUMBERS: dict[str, Any] = {
    "optim.name": "sgd",
    "optim.lr": 0.1,
    "optim.momentum": 0.9,
    "optim.nesterov": True,
    "optim.weight_decay": 3e-4,
    "optim.schedule.name": "step",
    "optim.schedule.milestones": (80, 120, 160),
    "optim.schedule.factors": (0.1, 0.1, 0.5),
    "optim.schedule.warmup_epochs": 0,
    "trainer.max_epochs": 200,
    "trainer.accumulate_grad_batches": 1,
    "data.name": "cifar10",
    "data.batch_size": 128,
    "data.flip": True,
    "data.crop_padding": 4,
    "model.weights": None,
    "quant.init": "scratch",
}
IMAGENET_NUMBERS: dict[str, Any] = {
    "optim.name": "adam",
    "optim.lr": 1e-4,
    "optim.weight_decay": 5e-6,
    "optim.schedule.name": "step",
    "optim.schedule.milestones": (25, 30, 35),
    "optim.schedule.factors": (0.2, 0.2, 0.5),
    "optim.schedule.warmup_epochs": 0,
    "trainer.max_epochs": 50,
    "trainer.accumulate_grad_batches": 1,
    "data.name": "imagenet",
    "data.batch_size": 256,
    "data.image_size": 224,
    "data.resize": 256,
    "data.flip": True,
    "data.random_resized_crop": True,
    "quant.init": "baseline",
    "quant.update": "sequential",
}
TGA_NUMBERS: dict[str, Any] = {
    "seed": 0,
    "quant.name": "tga",
    "quant.first_last": "ternary",
    "quant.include": ("*",),
    "quant.exclude": (),
    "quant.rule.threshold.init": 0.05,
    "quant.rule.threshold.unit": "max",
    "quant.rule.threshold.lr": None,
    "quant.rule.scale": "tga",
    "optim.label_smoothing": 0,
}
# Full precision -> ternary on CIFAR-10; top-1 degradation on ImageNet.
PUBLISHED = {
    "cifar10_resnet20_tga": "91.70 -> 91.65",
    "cifar10_resnet32_tga": "92.36 -> 92.48",
    "cifar10_resnet44_tga": "92.47 -> 92.71",
    "cifar10_resnet56_tga": "92.68 -> 92.86",
    "imagenet_resnet18_tga": "degradation 3.9 points",
    "imagenet_resnet34_tga": "degradation 2.52 points",
    "imagenet_resnet50_tga": "degradation 2.16 points",
    "imagenet_alexnet_tga": "61.78/82.87 -> 57.21/79.41",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Stands for ImageNet's folder, whose files are part of a run's identity."""
    (tmp_path / "train" / "n01440764").mkdir(parents=True)
    (tmp_path / "train" / "n01440764" / "1.JPEG").write_bytes(b"1")
    return tmp_path


def composed(*overrides: str) -> Settings:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        values: Any = OmegaConf.to_container(compose("train", list(overrides)), resolve=True, throw_on_missing=True)
    return settings_from_config({key: value for key, value in values.items() if key not in ("experiment", "debug")})


def recipe(name: str, root: Path) -> Settings:
    return composed(f"experiment={name}", *([f"data.root={root}"] if name in IMAGENET else []))


def value(settings: Settings, name: str) -> Any:
    found: Any = settings
    for part in ("quant.rule.update" if name == "quant.update" else name).split("."):
        found = getattr(found, part)
    return found


def test_these_are_all_recipes() -> None:
    assert sorted(PUBLISHED) == RECIPES == sorted([*CIFAR, *IMAGENET])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_published_numbers(name: str, root: Path) -> None:
    settings = recipe(name, root)
    expected = {**TGA_NUMBERS, **(CIFAR_NUMBERS if name in CIFAR else IMAGENET_NUMBERS)}
    assert {key: value(settings, key) for key in expected} == expected
    _, model, _ = name.split("_")
    assert settings.model.name == model
    assert settings.model.weights == ("torchvision" if name.startswith("imagenet_resnet") else None)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_passes_the_checks_that_come_before_the_costs(name: str, root: Path) -> None:
    settings = recipe(name, root)
    check_weights(settings.model)
    check_pairs(settings.data, DATA_SETS[settings.data.name].storage)
    twin = twin_of(settings)
    assert not twin.quant.active
    assert run_id(settings).startswith(f"{settings.data.name}-{settings.model.name}-tga-s0-")
    assert run_id(twin).startswith(f"{settings.data.name}-{settings.model.name}-none-s0-")


def test_the_baselines_are_torchvisions_where_it_has_them_and_are_trained_elsewhere(root: Path) -> None:
    for name in IMAGENET:
        twin = twin_of(recipe(name, root))
        assert (twin.trainer.max_epochs == 0) == (twin.model.weights == "torchvision"), name
    alexnet = twin_of(recipe("imagenet_alexnet_tga", root))
    assert (alexnet.optim.name, alexnet.optim.lr, alexnet.optim.weight_decay) == ("sgd", 0.05, 5e-4)
    assert (alexnet.optim.schedule.name, alexnet.optim.schedule.warmup_epochs) == ("cosine", 5)
    assert alexnet.trainer.max_epochs == 90
    for name in CIFAR:
        settings = recipe(name, root)
        assert twin_of(settings).optim == settings.optim
        assert twin_of(settings).trainer.max_epochs == 200


@pytest.mark.parametrize("name", IMAGENET)
def test_an_imagenet_recipe_asks_for_the_data(name: str) -> None:
    with pytest.raises(SettingsError, match=r"data\.root=PATH"):
        composed(f"experiment={name}")


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_says_where_it_is_from_how_to_run_it_what_it_needs_and_what_to_expect(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    header = "\n".join(line for line in lines[: lines.index("defaults:")] if line.startswith("#"))
    for word in ("Paper", "Command", "Hardware", "Published"):
        assert len(re.findall(rf"^# {word}: +\S", header, re.MULTILINE)) == 1, word
    assert f"python src/train.py experiment={name}" in header
    assert PUBLISHED[name] in header
    assert "1810.01018" in header
    # Numbers from the companion paper are not those of TGA.
    if "degradation" not in PUBLISHED[name]:
        assert "companion paper" in header and "could not be verified" in header


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_in_the_header_makes_the_recipe(name: str, root: Path) -> None:
    (command,) = re.findall(r"^# Command: +python src/train\.py (.*)$", (FOLDER / f"{name}.yaml").read_text(), re.M)
    typed = [word.replace("/path/to/imagenet", str(root)) for word in command.split()]
    assert run_id(composed(*typed)) == run_id(recipe(name, root))


@pytest.mark.parametrize("name", RECIPES)
def test_smoke_shrinks_a_recipe_to_an_epoch_of_embedded_digits_and_keeps_its_kind(name: str, root: Path) -> None:
    settings, full = composed(f"experiment={name}", "debug=smoke"), recipe(name, root)
    assert (settings.data.name, settings.data.limit_train, settings.trainer.max_epochs) == ("digits", 128, 1)
    assert settings.data.root is None
    assert settings.model.weights is None
    assert settings.tags == ("smoke",)
    assert (settings.model.name, settings.optim, settings.quant) == (full.model.name, full.optim, full.quant)
    twin = twin_of(settings)
    assert (twin.trainer.max_epochs, twin.data.name) == (1, "digits")
    check_weights(settings.model)
    check_pairs(settings.data, DATA_SETS["digits"].storage)


def test_recipes_are_different_runs(root: Path) -> None:
    assert len({run_id(recipe(name, root)) for name in RECIPES}) == len(RECIPES)
    assert len({run_id(composed(f"experiment={name}", "debug=smoke")) for name in RECIPES}) == len(RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_from_the_command_line(name: str, tmp_path: Path) -> None:
    code, out, err = run(tmp_path, f"experiment={name}", "debug=smoke")
    assert code == ExitCode.DONE, err
    assert "degradation, top-1" in out
    statuses = [json.loads(path.read_text())["status"] for path in tmp_path.glob("logs/runs/*/record.json")]
    assert statuses == ["finished", "finished"]
