"""Print what a training step costs by how OpenMP's threads wait, and with fewer threads, alone and beside other work.

    python benchmarks/waiting.py [--busy 0,4] [--spins 0,1000] [--threads N] [--steps 4] [--rounds 5] [--first]

Each contender is a process of its own, because OpenMP reads its settings once, when torch is imported. They take turns,
some steps each; those that have no turn sleep. Beside them run as many busy loops as `--busy` says. With `--first`,
which needs root, they get the cores before everything else (SCHED_FIFO), so that a shared machine is nearly an idle
one. Printed are the median seconds of a step, and the median, smallest and largest of the ratios to the first within a
round.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from ternlab.core.cpu import this_cpu
from ternlab.sweeps.local import cores

# Those that decide how threads wait; a contender has none but its own.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")


def main() -> None:
    """Measure and print, or be a contender."""
    arguments = _arguments()
    if arguments.contender:
        _contend(arguments)
        return
    print(f"CPU: {this_cpu()}; {cores()} cores, load {os.getloadavg()[0]:.1f} before it begins")
    print(f"{arguments.model}, batch {arguments.batch}, {arguments.size} pixels, {arguments.rounds} rounds\n")
    with contextlib.ExitStack() as stack:
        contenders = {name: stack.enter_context(_started(own)) for name, own in _environments(arguments).items()}
        for busy in map(int, arguments.busy.split(",")):
            with _busy(busy):
                seconds: dict[str, list[float]] = {name: [] for name in contenders}
                for _ in range(arguments.rounds):
                    for name, contender in contenders.items():
                        seconds[name].append(_turn(contender))
            print(f"beside {busy} busy loops")
            _print(seconds)


def _environments(arguments: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Return the variables of each contender by its name."""
    threads = arguments.threads or cores()
    found = {f"{threads} threads, spin": {"OMP_NUM_THREADS": str(threads)}}
    for spins in arguments.spins.split(","):
        found[f"{threads} threads, {spins} spins"] = {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": spins}
    found[f"{threads} threads, passive"] = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    return found | {"1 thread": {"OMP_NUM_THREADS": "1"}}


@contextlib.contextmanager
def _started(own: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    variables = {name: value for name, value in os.environ.items() if name not in _WAITING}
    process = subprocess.Popen(
        [sys.executable, *sys.argv, "--contender"],
        env={**variables, **own},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # Its first steps, which are not counted.
        _turn(process)
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _turn(contender: subprocess.Popen[str]) -> float:
    assert contender.stdin is not None and contender.stdout is not None
    print("go", file=contender.stdin, flush=True)
    return float(contender.stdout.readline())


def _contend(arguments: argparse.Namespace) -> None:
    # Deferred: the process that keeps the turns has no use for torch.
    from steps import RULES, hand_written

    from ternlab.settings.trainer import TrainerSettings
    from ternlab.training.hardware import choose

    if arguments.first:
        # Before threads are there, which inherit it.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    steps = hand_written(arguments, RULES["full precision"], choose(TrainerSettings(accelerator="cpu")))
    for _ in sys.stdin:
        print(steps(), flush=True)


def _print(seconds: dict[str, list[float]]) -> None:
    from steps import print_ratios

    print_ratios(seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--busy", default="0,4", help="numbers of busy loops, one after another")
    parser.add_argument("--spins", default="1000", help="values of GOMP_SPINCOUNT")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--first", action="store_true", help="before everything else that runs here")
    parser.add_argument("--contender", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
