"""The lock, the constraints and the container recipes agree with one another and with pyproject.toml."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.commands.run_command import ROOT

LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPES = ("Dockerfile", "ternlab.def")


def plain(name: str) -> str:
    """Return a package name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_names_public_registries_only_and_hashes_every_file() -> None:
    text = (ROOT / "uv.lock").read_text()
    hosts = set(re.findall(r"(?:https?|file|ssh)://([^/\"]*)", text))
    assert hosts <= {"pypi.org", "files.pythonhosted.org", "download.pytorch.org"}
    files = [file for package in LOCK["package"] for file in (*package.get("wheels", ()), package.get("sdist"))]
    assert all(file["hash"].startswith("sha256:") for file in files if file is not None)
    assert len(files) > 1000


def test_the_lock_has_the_versions_that_the_tests_run_with() -> None:
    locked: dict[str, set[str]] = {}
    for package in LOCK["package"]:
        locked.setdefault(plain(package["name"]), set()).add(package.get("version", ""))
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert len(pins) > 100
    wrong = {name: version for name, version in pins if version not in locked.get(plain(name), {version})}
    assert wrong == {}
    assert {"torch", "pillow", "numpy", "pytorch-lightning"} <= locked.keys()


def test_the_lock_is_of_this_project() -> None:
    (own,) = (package for package in LOCK["package"] if package["name"] == PROJECT["name"])
    required = own["metadata"]["requires-dist"]
    base = {plain(re.split(r"[><=\[ ]", text)[0]) for text in PROJECT["dependencies"]}
    assert {one["name"] for one in required if "extra" not in one.get("marker", "")} == base
    assert set(own["metadata"]["provides-extras"]) == set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_installs_extras_that_exist_from_the_lock(name: str) -> None:
    text = (ROOT / "containers" / name).read_text()
    (sync,) = re.findall(r"uv sync (.*)$", text, re.MULTILINE)
    assert "--frozen" in sync
    assert set(re.findall(r"--extra (\w+)", sync)) <= PROJECT["optional-dependencies"].keys()
    (python,) = re.findall(r"python:([\d.]+)-slim", text)
    assert f">={python}" == PROJECT["requires-python"]


def test_both_recipes_install_the_same() -> None:
    texts = [(ROOT / "containers" / name).read_text() for name in RECIPES]
    for pattern in (r"uv==\S+", r"uv sync .*", r"apt-get install .*", r"PATH=/opt\S+ .*"):
        assert re.findall(pattern, texts[0])[0].split(" && uv")[0] == re.findall(pattern, texts[1])[0]
