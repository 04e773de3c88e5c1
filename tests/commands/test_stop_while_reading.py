"""A run is preempted while it lists, reads or decodes its images: real processes, real signals."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode
from tests.commands.run_command import LONG, TINY
from tests.commands.warm_command import run, start
from tests.data.made_images import write_folder

WORDS = [word for word in TINY if not word.startswith(("plugins", "data.limit"))]
FULL = ("quant=none", *(word for word in WORDS if not word.startswith("quant.")))


def wait_for_reader(pipe: Path) -> int:
    """Wait until a process reads from `pipe`, and return its other end: the process waits for bytes."""
    end = time.monotonic() + LONG
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > end:
                raise
            time.sleep(0.02)


def statuses(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in (folder / "logs" / "runs").glob("*/record.json")]


@pytest.mark.parametrize(
    ("size", "row", "number"),
    [(8, 0, signal.SIGUSR1), (8, 2, signal.SIGTERM), (100, 2, signal.SIGTERM)],
    ids=["looking", "decoding", "threads"],
)
def test_a_run_whose_storage_does_not_answer_can_be_stopped_and_repeated(
    tmp_path: Path, size: int, row: int, number: signal.Signals
) -> None:
    """The header of row 0 is read first; row 2 of 120 is only decoded, by threads if the images are large."""
    root = write_folder(tmp_path / "set", {"train": 60, "test": 2}, (size, size))
    file = root / "train" / "cat" / f"{row:03d}.png"
    content = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    words = (*FULL, "plugins=[tests.tiny]", "data=image_folder", f"data.root={root}", "trainer.max_epochs=1")
    process = start(tmp_path, *words)
    writing = wait_for_reader(file)
    process.send_signal(number)
    _, err = process.communicate(timeout=LONG)
    os.close(writing)
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert f"Stopped by {number.name}" in err and "re-run the same command" in err
    assert statuses(tmp_path) == ["interrupted"]
    file.unlink()
    file.write_bytes(content)
    code, _, err = run(tmp_path, *words)
    assert code == ExitCode.DONE, err


def test_a_run_can_be_stopped_while_it_lists_its_files(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {"train": 100, "test": 100})
    words = (*FULL, "plugins=[tests.tiny,tests.slow_disk]", "data=image_folder", f"data.root={root}")
    process = start(tmp_path, *words)
    end = time.monotonic() + LONG
    while not (tmp_path / "listing").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=LONG)
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert "Stopped by SIGTERM" in err
    # Its id was not known yet.
    assert not (tmp_path / "logs").exists()
