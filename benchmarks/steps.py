"""Print what a ternary step costs over a full-precision one, a teacher over none, and Lightning over a loop by hand.

    python benchmarks/steps.py [--model resnet20] [--batch 128] [--size 32] [--steps 8] [--rounds 5] [--rule NAME]
    python benchmarks/steps.py --teacher        # distillation alone, with the network in full precision as the teacher

The contenders take turns, some steps each, so that a change of the machine's speed meets all of them. Printed are
the median seconds of a step and the median, smallest and largest of the ratios to the first within a round.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ternlab.core.wait_policy import set_wait_policy

if __name__ == "__main__":
    # As in a run; who imports this has decided for itself.
    set_wait_policy()

import pytorch_lightning as pl
import torch
from torch import Tensor

from ternlab.algorithms.supervised import cross_entropy, objective
from ternlab.core.cpu import this_cpu
from ternlab.core.logs import quiet_libraries
from ternlab.objectives.base import Objective, Weighted
from ternlab.objectives.distillation import Distillation, Teacher
from ternlab.runs.directory import RunDirectory
from ternlab.settings.load import settings_from_config
from ternlab.settings.root import Settings
from ternlab.training.callbacks.epoch_metrics import EpochMetrics
from ternlab.training.fit import build_trainer
from ternlab.training.hardware import Choice, choose, threads_here
from ternlab.training.module import Classifier
from ternlab.training.network import Shape, build_network
from ternlab.training.processes import Place

Batch = tuple[Tensor, Tensor]
# Returns the seconds of one step, measured over several.
Contender = Callable[[], float]

RULES: dict[str, dict[str, Any]] = {
    "full precision": {"name": "none"},
    "tga, joint": {"name": "tga"},
    "tga, sequential": {"name": "tga", "update": "sequential"},
    "sws": {"name": "sws"},
    "sws, two summands (rel2)": {"name": "sws", "rel": {"factors": [0.05, 0.1]}},
    "sws, four summands (rel4)": {"name": "sws", "rel": {"factors": [0.05, 0.1, 0.15, 0.2]}},
    "twn": {"name": "twn"},
    "ttq": {"name": "ttq"},
    "bwn": {"name": "bwn"},
    "absmean": {"name": "absmean"},
    "lsq, ternary": {"name": "lsq"},
    "lsq, two bits": {"name": "lsq", "bits": 2},
    "seq": {"name": "seq"},
    "uniform, eight bits": {"name": "uniform"},
}


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    quiet_libraries()
    choice = choose(_settings(arguments, RULES["full precision"]).trainer)
    print(f"{arguments.model}, batch {arguments.batch}, {arguments.size} pixels")
    threads = threads_here()
    print(f"CPU: {this_cpu()}; {threads.count} threads, waiting: {threads.waiting}")
    print(f"{choice.device}, {choice.precision}, channels_last {choice.channels_last} ({choice.reason})\n")
    if arguments.teacher:
        print_ratios(_take_turns(teachers(arguments, choice), arguments.rounds))
        return
    rules = {
        name: hand_written(arguments, {"init": "scratch", **quant}, choice)
        for name, quant in RULES.items()
        if name == "full precision" or arguments.rule in name
    }
    print_ratios(_take_turns(rules, arguments.rounds))
    if arguments.rule:
        return
    full = RULES["full precision"]
    loops = {
        "hand-written loop": hand_written(arguments, full, choice),
        "Lightning loop, with metrics": lightning(arguments, full, choice),
    }
    print_ratios(_take_turns(loops, arguments.rounds))
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def teachers(arguments: argparse.Namespace, choice: Choice) -> dict[str, Contender]:
    """Return loops with and without a teacher, for a network in full precision and for both updates of tga."""
    return {
        f"{name}{', distilled' if distilled else ''}": hand_written(
            arguments, {"init": "scratch", **RULES[name]}, choice, distilled=distilled
        )
        for name in ("full precision", "tga, joint", "tga, sequential")
        for distilled in (False, True)
    }


def hand_written(
    arguments: argparse.Namespace, quant: dict[str, Any], choice: Choice, *, distilled: bool = False
) -> Contender:
    """Return a loop without Lightning's trainer: forward, backward, step."""
    module = _module(arguments, quant, choice, distilled=distilled)
    optimizer: Any = module.configure_optimizers()["optimizer"]
    images, labels = _batch(arguments)

    def steps() -> float:
        started = time.perf_counter()
        for _ in range(arguments.steps):
            # Another tensor each time: a teacher keeps its answer to a batch.
            batch = images.view_as(images)

            def closure(batch: Tensor = batch) -> Tensor:
                with torch.autocast(choice.device, torch.bfloat16, enabled=choice.precision == "bf16-mixed"):
                    loss = module.loss(batch, labels, module(batch)).total
                optimizer.zero_grad()
                loss.backward()
                return loss

            optimizer.step(closure)
        return (time.perf_counter() - started) / arguments.steps

    return steps


def lightning(arguments: argparse.Namespace, quant: dict[str, Any], choice: Choice) -> Contender:
    """Return the loop that a run trains with; the start of Lightning's trainer is not counted."""
    settings = _settings(arguments, quant)
    module = _module(arguments, quant, choice)
    # The first step is not counted, it waits for the trainer's start.
    batches = torch.utils.data.DataLoader([_batch(arguments)] * (arguments.steps + 1), batch_size=None)

    def steps() -> float:
        clock = _Clock()
        directory = RunDirectory(Path(tempfile.gettempdir()))
        trainer = build_trainer(settings, directory, choice, [EpochMetrics(None), clock], Place(), validate=False)
        trainer.fit(module, batches)
        return (clock.ended - clock.started) / arguments.steps

    return steps


class _Clock(pl.Callback):
    """Notes when the second step begins and when the last has ended."""

    started = ended = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        """Note the time."""
        self.ended = time.perf_counter()
        self.started = self.started or self.ended


def _take_turns(contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    for contender in contenders.values():
        contender()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds[name].append(contender())
    return seconds


def print_ratios(seconds: dict[str, list[float]]) -> None:
    """Print seconds a step by contender, and their ratios to the first within a round."""
    first = next(iter(seconds.values()))
    print(f"{'':30} {'s/step':>8} {'ratio':>7} {'smallest':>9} {'largest':>8}")
    for name, of_rounds in seconds.items():
        ratios = [own / reference for own, reference in zip(of_rounds, first, strict=True)]
        middle = statistics.median(ratios)
        print(f"{name:30} {statistics.median(of_rounds):8.4f} {middle:7.3f} {min(ratios):9.3f} {max(ratios):8.3f}")
    print()


def _module(
    arguments: argparse.Namespace, quant: dict[str, Any], choice: Choice, *, distilled: bool = False
) -> Classifier:
    settings = _settings(arguments, quant)
    shape = Shape(3, arguments.size, 10)
    loss = objective(settings)
    if distilled:
        network = build_network(_settings(arguments, RULES["full precision"]), shape, None)
        teacher = Teacher(network, torch.channels_last if choice.channels_last else torch.contiguous_format)
        loss = Objective([cross_entropy(settings, 0.5), Weighted("distillation", 0.5, Distillation(teacher))])
    return Classifier(build_network(settings, shape, None), loss, settings, arguments.steps + 1, choice.channels_last)


def _batch(arguments: argparse.Namespace) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size, generator=generator)
    return images, torch.randint(0, 10, (arguments.batch,), generator=generator)


def _settings(arguments: argparse.Namespace, quant: dict[str, Any]) -> Settings:
    return settings_from_config(
        {"model": {"name": arguments.model}, "quant": quant, "trainer": {"max_epochs": 1}, "optim": {"lr": 0.01}}
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rule", default="", help="measure only rules with this in their name, against full precision")
    parser.add_argument("--teacher", action="store_true", help="measure only distillation, against none")
    return parser.parse_args()


if __name__ == "__main__":
    main()
