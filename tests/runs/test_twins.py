"""The full-precision twin of a run: what it has of the run, and which runs share it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ternlab.runs.identity import run_id
from ternlab.settings.load import twin_of
from tests.runs.identity_settings import COUNTS, settings


def test_the_id_of_a_full_precision_run_knows_nothing_of_quantization(tmp_path: Path) -> None:
    plain = settings(quant={"name": "none"})
    for quant in ({"first_last": "full"}, {"init": "file", "init_file": str(tmp_path / "nowhere")}, {"exclude": ["a"]}):
        assert run_id(settings(quant={"name": "none", **quant})) == run_id(plain)
    assert run_id(settings(quant={"name": "none"}, baseline={"run": "x"})) == run_id(plain)


# What a twin has nothing of: the rule, the algorithm (it may need the twin), loss terms of the quantized network.
NOT_OF_TWINS = ("quant.", "algorithm.", "objectives")
QUANT_ONLY = {name: value for name, value in COUNTS.items() if name.startswith(NOT_OF_TWINS) and value != "FILE"}


@pytest.mark.parametrize("name", [name for name in QUANT_ONLY if name != "quant.name"])
def test_runs_that_differ_in_quantization_or_training_share_their_twin(name: str) -> None:
    changed = settings(**{name: QUANT_ONLY[name]})
    assert run_id(twin_of(changed)) == run_id(twin_of(settings()))
    assert run_id(twin_of(changed)) == run_id(settings(quant={"name": "none"}))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in COUNTS
        if not name.startswith((*NOT_OF_TWINS, "baseline.", "ckpt_path")) and COUNTS[name] != "FILE"
    ],
)
def test_runs_that_differ_in_anything_else_have_other_twins(name: str) -> None:
    assert run_id(twin_of(settings(**{name: COUNTS[name]}))) != run_id(twin_of(settings()))


def test_a_twin_starts_by_itself_and_is_never_forced(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"weights")
    twin = twin_of(settings(force=True, ckpt_path=str(file), seed=3, tags=["a"]))
    assert (twin.force, twin.ckpt_path, twin.quant.active, twin.seed) == (False, None, False, 3)
    assert run_id(twin) == run_id(twin_of(settings(seed=3)))
