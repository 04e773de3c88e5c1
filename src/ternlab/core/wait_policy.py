"""How OpenMP threads wait for each other: they sleep, so that steps do not stall on a busy machine.

Spinning threads keep their core while the thread that they wait for has none. Measurements are in docs/benchmarks.md.
The number of threads is not changed: it affects how sums are rounded, so a run resumed under a different load would
get different bits. How threads wait does not change any bits.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

POLICY = "OMP_WAIT_POLICY"
# With it, GNU's library (in torch's Linux wheels) no longer spins; Intel's and LLVM's sleep immediately.
OURS = "passive"
# If the user sets one of these, the user has decided how threads wait.
VARIABLES = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def set_wait_policy() -> None:
    """Make OpenMP threads sleep while they wait, in this process and its children, unless the user decided.

    Only for ternlab's own processes, and before torch is imported: OpenMP reads the environment when it is loaded.
    """
    if not _decided(os.environ):
        os.environ[POLICY] = OURS


def wait_policy(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return how threads wait in a process with this environment, and why."""
    decided = _decided(environment)
    if decided == {POLICY: OURS}:
        return OURS, "on a shared machine, spinning threads take cores from the threads they wait for"
    if not decided:
        return "default", f"{POLICY} was not set before torch was imported"
    return ", ".join(f"{name}={value}" for name, value in decided.items()), "as set in the environment"


def _decided(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in VARIABLES if environment.get(name)}
