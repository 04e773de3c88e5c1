"""Checks whether this user can log in to W&B, without contacting W&B."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlparse

from ternlab.core.errors import SettingsError
from ternlab.loggers.options import WandbSettings


def wandb_mode(chosen: WandbSettings) -> str:
    """Return `online` or `offline`: from the settings, from `WANDB_MODE`, or by whether there is an API key."""
    if chosen.mode != "auto":
        return chosen.mode
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Return whether there is an API key in the environment or in netrc, where `wandb login` stores it."""
    given = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
    return any(os.environ.get(name) for name in given) or _in_netrc()


def require_key() -> None:
    """Raise SettingsError if there is no API key."""
    if not has_key():
        raise SettingsError(
            "WANDB_API_KEY",
            rule="there is no W&B API key, neither in the environment nor from `wandb login`",
            instead="wandb login, or WANDB_API_KEY=KEY in the environment (https://wandb.ai/authorize)",
        )


def _in_netrc() -> bool:
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC", str(Path.home() / ".netrc"))).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
