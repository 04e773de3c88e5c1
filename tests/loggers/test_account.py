"""Whether there is a key, told without asking W&B."""

from __future__ import annotations

from pathlib import Path

import pytest

from ternlab.core.errors import SettingsError
from ternlab.loggers.options import WandbSettings
from ternlab.loggers.wandb.account import require_key, wandb_mode

_NAMES = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE")


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_wandb_is_offline_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wandb_mode(WandbSettings(name="wandb")) == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai\nlogin user\npassword " + "0" * 40 + "\n")
    assert wandb_mode(WandbSettings(name="wandb")) == "online"
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert wandb_mode(WandbSettings(name="wandb")) == "online"
    assert wandb_mode(WandbSettings(name="wandb", mode="offline")) == "offline"


def test_the_environment_says_more_than_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_mode(WandbSettings(name="wandb")) == "offline"
    assert wandb_mode(WandbSettings(name="wandb", mode="online")) == "online"


def test_a_key_of_another_server_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine api.wandb.ai\nlogin user\npassword " + "0" * 40 + "\n")
    require_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    with pytest.raises(SettingsError, match="wandb login"):
        require_key()
