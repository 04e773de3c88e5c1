"""One process of a multi-process run: `torchrun -m ternlab.training.worker FOLDER OUTCOME`."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from ternlab.core.errors import TernlabError
from ternlab.core.files import write_json
from ternlab.core.lock import RunLock
from ternlab.core.logs import FOR_A_PERSON, log_to_file, log_to_terminal, quiet_libraries, tracebacks
from ternlab.core.signals import StopRequest
from ternlab.runs.directory import RunDirectory
from ternlab.training.fit import train_here
from ternlab.training.launch import log_file
from ternlab.training.processes import node_from_environment, place_from_environment


def main(arguments: list[str]) -> int:
    """Train in this process, write the result or the error to its node's file, and return the exit code."""
    directory, result = RunDirectory(Path(arguments[0])), Path(arguments[1])
    place = place_from_environment()
    quiet_libraries()
    with contextlib.ExitStack() as stack:
        if place.rank == 0:
            log_to_terminal(FOR_A_PERSON)
        stack.enter_context(log_to_file(log_file(directory, node_from_environment())))
        try:
            settings = directory.settings()
            if place.rank == 0:
                # The parent holds the run's lock; this lock guards against processes of a killed parent.
                stack.enter_context(RunLock(directory.path / "processes.lock"))
            with StopRequest() as stop:
                outcome = train_here(settings, directory, directory.inputs(), place, stop)
        except TernlabError as error:
            write_json(result, {"exit_code": int(error.exit_code), "error": str(error)})
            return int(error.exit_code)
        except Exception:
            tracebacks.info("process %d failed", place.rank, exc_info=True)
            raise
    if os.environ["LOCAL_RANK"] == "0":
        write_json(result, asdict(outcome))
    # If left until interpreter exit, its threads sometimes abort the process.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
