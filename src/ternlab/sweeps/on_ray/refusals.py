"""Why Ray cannot be used, each as one message: what, and what to type instead."""

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
_START_YOURSELF = "cluster.address=HOST:PORT as `ray start --head` prints it, or null for a cluster of its own"
# As Ray's library prints it, which tries again and again.
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
    """Refuse in a moment what Ray itself would try for long.

    Raises:
        SettingsError: it is no address, or nobody listens there.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        # `auto` and `local` are words of Ray: it would take any cluster that it finds.
        raise SettingsError("cluster.address", value=address, rule="is not HOST:PORT", instead=_START_YOURSELF)
    try:
        socket.create_connection((found["host"], int(found["port"])), _REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise SettingsError(
            "cluster.address", value=address, rule=f"nobody answers there ({error})", instead=_START_YOURSELF
        ) from error


def refusal(cluster: RayCluster, words: str, printed: str) -> SettingsError:
    """Return the message for a cluster that did not start or did not let this process in.

    Args:
        cluster: that was asked for.
        words: what Ray said.
        printed: what its library printed on the way.
    """
    why = " ".join(words.split())[:_LONGEST] or "it does not answer as a Ray cluster does"
    if cluster.address is None:
        return SettingsError("cluster", value="ray", rule=f"Ray cannot start here: {why}", instead="cluster=local")
    if BAD_TOKEN in printed or "authentication token was found" in words:
        given = os.environ.get("RAY_AUTH_MODE") == "token"
        return SettingsError(
            "cluster.address",
            value=cluster.address,
            rule="the token is missing or not that of the cluster" if given else "the cluster asks for a token",
            instead="RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE in the environment, with the cluster's token",
        )
    return SettingsError(
        "cluster.address", value=cluster.address, rule=f"Ray cannot connect: {why}", instead=_START_YOURSELF
    )


def too_much(cluster: RayCluster) -> SettingsError:
    """Return the message for trials that no node can carry."""
    asked = f"cluster.cpus_per_trial={cluster.cpus_per_trial} cluster.gpus_per_trial={cluster.gpus_per_trial}"
    return SettingsError(
        asked, rule="no node of the cluster has as many", instead="fewer, or a cluster with such nodes"
    )
