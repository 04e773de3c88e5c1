"""One training from settings to results; does not write records and does not know locks."""

from __future__ import annotations

import contextlib
import logging
import resource
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from ternlab.algorithms.registry import algorithm_builder, metrics_of
from ternlab.core.signals import StopRequest
from ternlab.data.module import ImageDataModule, build_data
from ternlab.export.accounting import sizes
from ternlab.optimizers.groups import threshold_parameters
from ternlab.quantizers.full_precision import full_precision
from ternlab.runs.directory import RunDirectory
from ternlab.runs.metrics import MetricsTable
from ternlab.runs.needs import NO_INPUTS, Inputs
from ternlab.runs.pairing import paired_metrics
from ternlab.settings.root import Settings
from ternlab.training.callbacks.epoch_metrics import EpochMetrics
from ternlab.training.callbacks.layer_stats import LayerStats
from ternlab.training.callbacks.order import in_order
from ternlab.training.callbacks.progress import progress_callbacks
from ternlab.training.callbacks.saving import Saving, stop_unless_finite
from ternlab.training.hardware import Choice, Threads, choose, threads_here
from ternlab.training.inputs import described_inputs
from ternlab.training.mirrors import build_mirrors
from ternlab.training.module import Classifier
from ternlab.training.network import Shape, save_weights
from ternlab.training.processes import Place
from ternlab.training.rehearsal import rehearse_saving, rehearse_step
from ternlab.training.resume import starting_checkpoint
from ternlab.training.setup import Setup
from ternlab.training.stem_cost import stem_cost
from ternlab.training.trainer import build_trainer, lightning_precision, strategy_name, unused_parameters_explained

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The result of a training.

    Attributes:
        metrics: `val/...`, `test/...`, and sizes.
        facts: how the training was executed (precision, device, images, steps, peak memory).
    """

    metrics: dict[str, float]
    facts: dict[str, Any]


def fit(
    settings: Settings,
    directory: RunDirectory,
    *,
    inputs: Inputs = NO_INPUTS,
    mirrors: tuple[Callback, ...] = (),
    place: Place | None = None,
    stop: StopRequest | None = None,
    later_epochs: int = 0,
) -> Outcome:
    """Train or resume, then test once; write checkpoints, metrics and weights to `directory`.

    Args:
        settings: settings of the run.
        directory: the run directory, whose lock this process or its parent holds.
        inputs: input files of the training, by name (see `ternlab.runs.needs.inputs`).
        mirrors: callbacks that pass metrics on; they must not raise.
        place: this process among those of the run; default: the only process.
        stop: an active stop request handler; default: a new one for this training.
        later_epochs: epochs of the trainings that follow in the same command; for the progress bar.

    Raises:
        SettingsError: the data, the weights or the checkpoint cannot be used.
        DivergedError: a loss is not finite.
        RunInterrupted: a signal asked to stop; the state is saved.
    """
    place = place or Place()
    choice = choose(settings.trainer)
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    data = _loaded_data(settings, place)
    setup = Setup(settings, data, inputs, choice.channels_last)
    module: Classifier = algorithm_builder(settings.algorithm.name)(setup)
    rehearse_saving(module.model)
    unused = rehearse_step(module.model, setup.shape, data.train_dataloader().share, settings)
    checkpoint = starting_checkpoint(settings, directory, module)
    # A precision set by the user is kept; an automatic choice yields to the precision of the checkpoint.
    if checkpoint is not None and settings.trainer.precision == "auto":
        choice = _as_begun(choice, checkpoint.precision)
    threads = threads_here()
    _announce(settings, data, choice, threads, place, module.model)
    _announce_network(settings, setup.shape, unused, place)
    with contextlib.nullcontext(stop) if stop else StopRequest() as stop:
        stop.leave_if_asked()
        shown = (*mirrors, *progress_callbacks(settings.trainer, later_epochs)) if place.rank == 0 else ()
        callbacks, metrics, layers = _callbacks(settings, directory, stop, shown, place)
        strategy = strategy_name(place, find_unused=bool(unused) or settings.trainer.find_unused_parameters)
        validate = data.val_count > 0
        trainer = build_trainer(settings, directory, choice, callbacks, place, strategy=strategy, validate=validate)
        if checkpoint is not None:
            _log.info("resuming from step %d (%s)", checkpoint.step, checkpoint.path.name)
            data.train_dataloader().start_at(checkpoint.batch)
        with unused_parameters_explained():
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint.path if checkpoint else None, weights_only=True)
        outcome = _finish(trainer, module, data, metrics, directory, choice, threads)
    facts = {
        **outcome.facts,
        **({"inputs": described} if (described := described_inputs(settings, inputs)) else {}),
        **({"layer_faults": layers.faults} if layers else {}),
    }
    return replace(outcome, facts=facts)


def _loaded_data(settings: Settings, place: Place) -> ImageDataModule:
    data = build_data(
        settings.data,
        data_dir=Path(settings.paths.data),
        seed=settings.seed,
        rank=place.rank,
        world_size=place.world_size,
    )
    if place.world_size == 1:
        # With several processes, the parent has already fetched the files.
        data.prepare_data()
    data.setup()
    return data


_PRECISIONS = {"bf16-mixed": "bf16-mixed", "32-true": "32"}


def _as_begun(choice: Choice, precision: str) -> Choice:
    """Return `choice` with the precision of a checkpoint, given by Lightning's name."""
    if precision == lightning_precision(choice):
        return choice
    return replace(choice, precision=_PRECISIONS[precision], reason="as in the checkpoint")


def _callbacks(
    settings: Settings, directory: RunDirectory, stop: StopRequest, shown: tuple[Callback, ...], place: Place
) -> tuple[list[Callback], EpochMetrics, LayerStats | None]:
    """Return the callbacks in order, the one that computes the metrics, and the one that examines quantized layers."""
    first = place.rank == 0
    layers = LayerStats(MetricsTable(directory.layers_file) if first else None) if settings.quant.active else None
    metrics = EpochMetrics(
        MetricsTable(directory.metrics_file) if first else None,
        sources=(layers.of_epoch,) if layers else (),
        declared=metrics_of(settings),
    )
    callbacks: list[Callback] = [metrics, Saving(directory, settings, stop)]
    if layers is not None:
        callbacks.append(layers)
    return in_order([*callbacks, *shown]), metrics, layers


def _finish(
    trainer: pl.Trainer,
    module: Classifier,
    data: ImageDataModule,
    metrics: EpochMetrics,
    directory: RunDirectory,
    choice: Choice,
    threads: Threads,
) -> Outcome:
    """Test once with the weights of the last step, and save these weights."""
    stop_unless_finite(trainer)
    found: dict[str, float] = {}
    if data.val_count:
        trainer.validate(module, datamodule=data, verbose=False)
        found |= metrics.results(trainer, "val")
    trainer.test(module, datamodule=data, verbose=False)
    found |= metrics.results(trainer, "test")
    if trainer.is_global_zero:
        save_weights(module.model, directory.weights_file)
    counted = sizes(module.model)
    found |= {
        "size/float_bytes": counted.float_bytes,
        "size/quantized_bytes": counted.quantized_bytes,
        "compression/ratio": counted.ratio,
        "quant/sparsity": counted.sparsity,
    }
    facts = {
        "arithmetic": asdict(choice),
        "threads": asdict(threads),
        "images": {"train": data.train_count, "val": data.val_count, "test": data.test_count},
        "skipped_images": data.skipped,
        "classes": list(data.classes),
        "preprocessing": data.preprocessing(),
        "parameters": counted.parameters,
        "full_precision": full_precision(module.model).to_dict(),
        "steps": trainer.global_step,
        "world_size": trainer.world_size,
        "thresholds_agree": _thresholds_agree(trainer, module),
        "peak_memory_bytes": _peak_memory(choice),
    }
    return Outcome(found, facts)


def _thresholds_agree(trainer: pl.Trainer, module: Classifier) -> bool:
    """Return whether all processes ended with bit-identical thresholds."""
    thresholds = [parameter.detach().reshape(-1).double() for parameter in threshold_parameters(module)]
    if trainer.world_size == 1 or not thresholds:
        return True
    gathered = trainer.strategy.all_gather(torch.cat(thresholds))
    return bool((gathered == gathered[0]).all())


def _peak_memory(choice: Choice) -> int:
    """Return the peak memory of this process: GPU memory if it uses a GPU, else resident memory."""
    if choice.device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _announce(
    settings: Settings, data: ImageDataModule, choice: Choice, threads: Threads, place: Place, model: nn.Module
) -> None:
    if place.rank:
        return
    _log.info(
        "%s on %s: %d training, %d validation, %d test images, %d classes, %dx%d",
        settings.model.name, settings.data.name, data.train_count, data.val_count, data.test_count,
        len(data.classes), data.size, data.size,
    )  # fmt: skip
    if settings.quant.active:
        _log.info("full precision: %s", full_precision(model))
    memory = "channels_last" if choice.channels_last else "contiguous"
    _log.info("%s, %s, %s (%s)", choice.device, choice.precision, memory, choice.reason)
    _log.info("CPU threads: %d, wait policy: %s (%s)", threads.count, threads.waiting, threads.reason)


def _announce_network(settings: Settings, shape: Shape, unused: list[str], place: Place) -> None:
    if place.rank:
        return
    if (cost := stem_cost(settings.model, shape)) is not None:
        _log.info(cost)
    if unused:
        more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
        _log.info("parameters that training does not use: %s%s", ", ".join(unused[:3]), more)


def train_here(
    settings: Settings,
    directory: RunDirectory,
    inputs: Inputs,
    place: Place,
    stop: StopRequest | None = None,
    later_epochs: int = 0,
) -> Outcome:
    """Train the run of `directory` in this process; the mirrors are always closed afterwards."""
    mirrors = build_mirrors(settings, directory) if place.rank == 0 else ()
    try:
        outcome = fit(
            settings,
            directory,
            inputs=inputs,
            mirrors=mirrors,
            place=place,
            stop=stop,
            later_epochs=later_epochs,
        )
    except BaseException:
        for mirror in mirrors:
            mirror.close({}, exit_code=1)
        raise
    for mirror in mirrors:
        mirror.close({**outcome.metrics, **_pairing(directory, outcome)}, exit_code=0)
    return outcome


def _pairing(directory: RunDirectory, outcome: Outcome) -> dict[str, float]:
    baseline = (directory.record() or {}).get("baseline")
    return paired_metrics(outcome.metrics, baseline) if baseline else {}
