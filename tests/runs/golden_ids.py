"""Commands and the run ids that they have; see `golden_ids.json`.

An id stands for a result on somebody's disk, so an entry is never changed. A new one is recorded by typing it:

    python -m tests.runs.golden_ids 'quant=tga optim.lr=0.05' 'model=resnet18 ...'

A command is what is typed after `python src/train.py`. Files that it names lie in the folder that `make_files` fills;
they have fixed bytes, so that no id depends on the machine, on where the folder is, or on when it was made.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.runs.identity import run_id
from ternlab.settings.load import settings_from_config, twin_of
from tests.commands.run_command import ROOT

FILE = Path(__file__).with_suffix(".json")

# The id of a run, and that of its full-precision twin; `None` when the run is in full precision itself.
Ids = dict[str, str | None]


def golden_ids() -> dict[str, Ids]:
    """Return the recorded ids by command."""
    found: dict[str, Ids] = json.loads(FILE.read_text())
    return found


def make_files(folder: Path) -> None:
    """Write the files that the recorded commands name by relative paths."""
    for name in ("weights.pt", "start.safetensors", "state.ckpt"):
        (folder / name).write_bytes(f"the bytes of {name}".encode())
    # Own data counts by the names and sizes of its files.
    for name in ("parquet/train-0.parquet", "parquet/test.parquet", "images/train/cat/1.png", "images/test/dog/1.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))


def ids_of(command: str) -> Ids:
    """Return the ids of `command`: composed by Hydra, checked and hashed, as the training command does it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("train", shlex.split(command))
    values: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    settings = settings_from_config({key: values[key] for key in values if key not in ("experiment", "debug")})
    twin = run_id(twin_of(settings)) if settings.quant.active else None
    return {"run": run_id(settings), "baseline": twin}


def record(commands: list[str]) -> None:
    """Add `commands` with the ids that they have now.

    Raises:
        SystemExit: one is recorded already; what it says stays.
    """
    known = golden_ids()
    if again := [command for command in commands if command in known]:
        raise SystemExit(f"recorded already, and never changed: {again}")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        make_files(Path())
        known |= {command: ids_of(command) for command in commands}
    FILE.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    record(sys.argv[1:])
