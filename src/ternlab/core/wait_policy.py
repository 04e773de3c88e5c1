"""How OpenMP's threads wait for one another: asleep, so that a busy machine does not make every step wait for them.

Threads that spin keep their core while the thread that they wait for has none. The figures are in docs/benchmarks.md.
The number of threads stays as it is: sums are rounded by it, so a run that goes on under another load would get other
bits. How threads wait changes no bits.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

POLICY = "OMP_WAIT_POLICY"
# GNU's library (in torch's wheels for Linux) spins no more with it, Intel's and LLVM's sleep at once.
OURS = "passive"
# Whoever sets one of these has decided how threads wait.
VARIABLES = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def set_wait_policy() -> None:
    """Let OpenMP's threads sleep while they wait, in this process and in those that it starts, unless a user decided.

    For processes that are ternlab's own, before torch is imported: OpenMP reads the environment when it is loaded.
    """
    if not _decided(os.environ):
        os.environ[POLICY] = OURS


def wait_policy(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return how the threads of a process with this environment wait, and why."""
    decided = _decided(environment)
    if decided == {POLICY: OURS}:
        return OURS, "on a shared machine, spinning threads take cores from the threads they wait for"
    if not decided:
        return "default", f"{POLICY} was not set before torch was imported"
    return ", ".join(f"{name}={value}" for name, value in decided.items()), "as set in the environment"


def _decided(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in VARIABLES if environment.get(name)}
