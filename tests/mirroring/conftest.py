"""A W&B server of our own, and the user logged in to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mirroring.server import LoopbackWandb, log_in, log_out, loopback_wandb


@pytest.fixture
def wandb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackWandb]:
    """The server; `WANDB_...` in the environment point to it."""
    with loopback_wandb() as server:
        log_in(monkeypatch, server.url, tmp_path)
        yield server
        # Before the server goes: W&B's process says goodbye to it.
        log_out(monkeypatch, tmp_path)


@pytest.fixture
def logged_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key anywhere; W&B is offline."""
    log_out(monkeypatch, tmp_path)
