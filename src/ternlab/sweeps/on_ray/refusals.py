"""Error messages for cases in which Ray cannot be used, each with what to type instead."""

from __future__ import annotations

import importlib.util
import os
import re
import socket

from ternlab.core.errors import SettingsError
from ternlab.sweeps.on_ray.settings import RayCluster

_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<port>[0-9]{1,5})")
_REACH_SECONDS = 5.0
_LONGEST = 400
_START_YOURSELF = "cluster.address=HOST:PORT as printed by `ray start --head`, or null to start a local cluster"
# Printed by Ray's library, which keeps retrying.
BAD_TOKEN = "InvalidAuthToken"  # noqa: S105 - no token itself


def check_installed() -> None:
    """Raise `SettingsError` when Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise SettingsError(
            "cluster",
            value="ray",
            rule="Ray is not installed",
            instead="pip install 'ternlab[sweeps]', or cluster=local",
        )


def check_reachable(address: str) -> None:
    """Quickly reject an address that Ray itself would try for a long time.

    Raises:
        SettingsError: it is not an address, or nothing listens there.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        # `auto` and `local` are Ray keywords: it would use any cluster that it finds.
        raise SettingsError("cluster.address", value=address, rule="is not HOST:PORT", instead=_START_YOURSELF)
    try:
        socket.create_connection((found["host"], int(found["port"])), _REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise SettingsError(
            "cluster.address",
            value=address,
            rule=f"nothing responds at this address ({error})",
            instead=_START_YOURSELF,
        ) from error


def refusal(cluster: RayCluster, words: str, printed: str) -> SettingsError:
    """Return the error for a cluster that did not start or rejected this process.

    Args:
        cluster: the cluster settings.
        words: Ray's error message.
        printed: the output of Ray's library.
    """
    why = " ".join(words.split())[:_LONGEST] or "it does not respond like a Ray cluster"
    if cluster.address is None:
        return SettingsError("cluster", value="ray", rule=f"Ray cannot start here: {why}", instead="cluster=local")
    if BAD_TOKEN in printed or "authentication token was found" in words:
        given = os.environ.get("RAY_AUTH_MODE") == "token"
        return SettingsError(
            "cluster.address",
            value=cluster.address,
            rule="the token is missing or is not the cluster's" if given else "the cluster requires a token",
            instead="RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE in the environment, with the cluster's token",
        )
    return SettingsError(
        "cluster.address", value=cluster.address, rule=f"Ray cannot connect: {why}", instead=_START_YOURSELF
    )


def too_much(cluster: RayCluster) -> SettingsError:
    """Return the error for trials that no node can run."""
    asked = f"cluster.cpus_per_trial={cluster.cpus_per_trial} cluster.gpus_per_trial={cluster.gpus_per_trial}"
    return SettingsError(
        asked, rule="no node of the cluster has that many", instead="smaller values, or a cluster with larger nodes"
    )
