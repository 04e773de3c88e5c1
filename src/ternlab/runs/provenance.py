"""What a record says about code, versions and machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ternlab.core.cpu import this_cpu

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "ternlab", "wandb")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path | None = None) -> dict[str, str | bool] | None:
    """Return the commit, whether the working tree is dirty, and a hash of the diff; `None` outside git."""
    folder = folder or Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    difference = _git(folder, "diff", "HEAD") or ""
    return {
        "commit": commit.strip(),
        "dirty": bool(difference),
        "diff_sha256": hashlib.sha256(difference.encode()).hexdigest() if difference else "",
    }


def host() -> dict[str, Any]:
    """Return name, system, processor count and CPU of this machine; see `ternlab.core.cpu.Cpu`."""
    cpu = asdict(this_cpu())
    return {"name": platform.node(), "system": platform.platform(), "cpus": os.cpu_count() or 1, "cpu": cpu}


def command() -> str:
    """Return the command line of this process, quoted for a shell."""
    # Not sys.argv, to which Hydra settings were added.
    return shlex.join(["python", *sys.orig_argv[1:]])


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, errors="replace", timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
