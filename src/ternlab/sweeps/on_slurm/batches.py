"""A batch: the runs of one job array, in a file that is written before the array is submitted.

A task whose batch file is gone trains nothing. If it is unknown whether SLURM received a submission, the submission is
therefore withdrawn by removing the file.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ternlab.core.errors import StorageError
from ternlab.core.files import remove_leftovers, write_json

_log = logging.getLogger(__name__)
_VERSION = 2
# In this version, `after` was one run or none.
_ONE_AFTER = 1


@dataclass(frozen=True)
class Place:
    """The resources of each run; none of them changes a run's identity.

    Attributes:
        threads: threads per process.
        devices: processes per node.
        nodes: number of nodes.
        accelerator: `gpu`, or `None` for the plan's value.
    """

    threads: int
    devices: int = 1
    nodes: int = 1
    accelerator: str | None = None


@dataclass(frozen=True)
class Batch:
    """The runs of one job array.

    Attributes:
        token: unique to this submission; the job name ends with it.
        sweep_id: the job name starts with it.
        plan: the plan file.
        runs: by array index.
        place: the resources of each run.
        after: runs that these depend on.
        job: ID of the array; `None` until SLURM has responded.
    """

    token: str
    sweep_id: str
    plan: str
    runs: tuple[str, ...]
    place: Place
    after: tuple[str, ...] = ()
    job: str | None = None

    @property
    def name(self) -> str:
        """The job's name."""
        return f"{self.sweep_id}.{self.token}"

    def renewed(self) -> Batch:
        """Return the same runs as a new submission."""
        return replace(self, token=new_token(), job=None)


def new_token() -> str:
    """Return a token that no other submission has."""
    return uuid.uuid4().hex[:12]


def batches_folder(folder: Path) -> Path:
    """Return the folder of a sweep's batch files and of the output that jobs print before Python starts."""
    return folder / "slurm"


def batch_file(folder: Path, token: str) -> Path:
    """Return the file of a batch."""
    return batches_folder(folder) / f"{token}.json"


def write_batch(folder: Path, batch: Batch) -> Path:
    """Write a batch and return its file."""
    path = batch_file(folder, batch.token)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"version": _VERSION, **asdict(batch)})
    return path


def read_batch(path: Path) -> Batch | None:
    """Read a file written by `write_batch`; `None` if it was withdrawn.

    Raises:
        StorageError: it is not readable.
    """
    try:
        found = json.loads(path.read_text())
        version, after = found.pop("version"), found["after"]
        if version == _ONE_AFTER:
            after = [] if after is None else [after]
        elif version != _VERSION:
            raise ValueError("it was written by another version of ternlab")
        place = Place(**found["place"])
        return Batch(**{**found, "runs": tuple(found["runs"]), "place": place, "after": tuple(after)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: is not a readable batch of jobs ({error}).") from error


def remove_batch(folder: Path, token: str) -> None:
    """Withdraw a batch, or clean up one whose runs have all ended."""
    batch_file(folder, token).unlink(missing_ok=True)


def all_batches(folder: Path) -> Iterator[Batch]:
    """Read the batches of a sweep; unreadable ones are logged and skipped."""
    if not batches_folder(folder).is_dir():
        return
    for path in sorted(batches_folder(folder).glob("*.json")):
        try:
            batch = read_batch(path)
        except StorageError as error:
            _log.warning("%s", error)
            continue
        if batch is not None:
            yield batch


def remove_leftovers_of(folder: Path) -> None:
    """Remove partially written files left by launchers that were killed."""
    if batches_folder(folder).is_dir():
        remove_leftovers(batches_folder(folder))
        for script in batches_folder(folder).glob("*.sbatch"):
            script.unlink(missing_ok=True)
