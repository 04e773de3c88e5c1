"""Connects to a Ray cluster, either its own on loopback or an existing one, and computes its capacity."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OBJECT_STORE = 80 * 2**20
_REMOVING_SECONDS = 5.0
# Variables that refer to other Ray clusters, for example of another user of this machine.
_OF_OTHERS = ("RAY_ADDRESS", "RAY_TMPDIR", "RAY_AUTH_TOKEN_PATH", "RAY_NAMESPACE")


@dataclass(frozen=True)
class Request:
    """A request to Ray.

    Attributes:
        address: address of an existing cluster (`None`: start its own).
        cores: CPUs of its own cluster.
        cpus: CPUs per trial.
        gpus: GPUs per trial.
        scratch: folder for Ray's and Tune's own files; removed at the end.
        results: folder for Tune's results, which is kept (`None`: Tune writes to `scratch`).
    """

    address: str | None
    cores: int
    cpus: int
    gpus: int
    scratch: str
    results: str | None = None


def environment(before: Mapping[str, str], address: str | None) -> dict[str, str]:
    """Return the environment of the driver.

    Args:
        before: environment of this process. With an address, its token variables (`RAY_AUTH_...`) are kept.
        address: address of an existing cluster.
    """
    found = {
        **before,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        # Tune's own files: a result file per trial only if asked for, and its state only at the start and the end.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        # Tasks that wait for resources; the scheduler decides how many there are.
        "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    }
    if address is None:
        found = {name: value for name, value in found.items() if name not in _OF_OTHERS}
        # Ray's switch for systems that prompt for every open port: all its processes then listen only on 127.0.0.1.
        found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Same priority as with other launchers; Ray's workers run at nice 15 by default.
        found["RAY_worker_niceness"] = "0"
        # Other users of this machine can reach loopback too. Never pass this as an argument, which they could read.
        found |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return found


def connect(request: Request) -> None:
    """Start a cluster, or connect to the one at the address; raises Ray's errors."""
    import ray

    if request.address is not None:
        ray.init(address=request.address, log_to_driver=False, logging_level="ERROR")
        return
    ray.init(
        address="local",
        num_cpus=request.cores,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=_OBJECT_STORE,
        _temp_dir=request.scratch,
    )


def remove(scratch: Path) -> None:
    """Remove the files of Ray and Tune; exiting Ray processes may still write for a moment."""
    end = time.monotonic() + _REMOVING_SECONDS
    shutil.rmtree(scratch, ignore_errors=True)
    while scratch.exists() and time.monotonic() < end:
        time.sleep(0.1)
        shutil.rmtree(scratch, ignore_errors=True)


def slots(nodes: Iterable[Mapping[str, Any]], request: Request) -> int:
    """Return how many trials these nodes can run concurrently if nobody else uses them."""
    found = 0
    for node in nodes:
        if node["Alive"]:
            resources = node["Resources"]
            fitting = int(resources.get("CPU", 0)) // request.cpus
            if request.gpus:
                fitting = min(fitting, int(resources.get("GPU", 0)) // request.gpus)
            found += fitting
    return found
