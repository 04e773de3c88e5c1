"""The server from which tests fork processes: each is a process of its own, without seconds of imports.

A process has one such server, with what is imported in it chosen before the first fork, so all tests share this one.
"""

from __future__ import annotations

import multiprocessing

FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(
    [
        "pytest",
        "ternlab.commands.entry",
        "ternlab.commands.train",
        "ternlab.sweeps.trial",
        "ternlab.training.fit",
        "ternlab.training.launch",
    ]
)
