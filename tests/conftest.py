"""What holds for all tests."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from ternlab.core.cpu import this_cpu
from tests.loggers.server import LoopbackWandb, log_in, log_out, loopback_wandb

# Two test processes share two cores: with one thread each they do not wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"
# No example may fail because the machine is slow, and all machines try the same examples.
settings.register_profile("ternlab", deadline=None, derandomize=True)
settings.load_profile("ternlab")
# What a user has set up for this account does not count, here and in the commands that tests start.
for name in ("RUNS", "SWEEPS", "DATA"):
    os.environ.pop(f"TERNLAB_{name}", None)
os.environ["TERNLAB_CONFIG"] = str(Path(__file__).parent / "no_user_files")
# No test may reach W&B's servers.
os.environ.setdefault("WANDB_MODE", "offline")


def pytest_report_header() -> str:
    """Say which instructions the CPU has, on which numbers in the last place may depend, and what limits their use."""
    return f"CPU: {this_cpu()}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed every test alike: what it draws must not depend on which tests ran before it in its process."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def wandb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackWandb]:
    """A W&B server of our own, and the user logged in to it: `WANDB_...` in the environment point to it."""
    with loopback_wandb() as server:
        log_in(monkeypatch, server.url, tmp_path)
        yield server
        # Before the server goes: W&B's process says goodbye to it.
        log_out(monkeypatch, tmp_path)


@pytest.fixture
def logged_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key anywhere; W&B is offline."""
    log_out(monkeypatch, tmp_path)
