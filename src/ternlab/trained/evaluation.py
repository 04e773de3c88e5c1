"""Evaluates a trained network outside of training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ternlab.core.errors import SettingsError
from ternlab.data.module import open_data
from ternlab.models.outputs import logits_of
from ternlab.runs.directory import RunDirectory
from ternlab.trained.evaluate_settings import EvaluateSettings
from ternlab.trained.network import settings_without_start
from ternlab.training.hardware import Choice, choose
from ternlab.training.metric_sums import MetricSums
from ternlab.training.network import Shape, build_network, build_trained
from ternlab.training.resume import checkpoint_entries, load_checkpoint_weights


def evaluate_run(directory: RunDirectory, checkpoint: Path | None, wanted: EvaluateSettings) -> dict[str, float]:
    """Return loss and metrics of a run's network, in the precision that its settings give on this machine.

    Args:
        directory: the run.
        checkpoint: evaluated instead of the final weights.
        wanted: split and batch size.

    Raises:
        SettingsError: weights, checkpoint or data cannot be used, or the split has no images.
    """
    settings = settings_without_start(directory)
    data_settings = settings.data.model_copy(update={"eval_batch_size": wanted.batch_size})
    data = open_data(data_settings, Path(wanted.paths.data), settings.seed)
    if wanted.split == "val" and not data.val_count:
        raise SettingsError("split", value="val", rule="the run held out no validation images", instead="split=test")
    shape = Shape(data.channels, data.size, len(data.classes))
    if checkpoint is None:
        model = build_trained(settings, shape, directory.weights_file)
    else:
        model = build_network(settings, shape, None, stored=checkpoint_entries(checkpoint))
        load_checkpoint_weights(model, checkpoint)
    # On this machine's devices: the run may have had others.
    choice = choose(settings.trainer.model_copy(update={"accelerator": "auto", "devices": 1}))
    loader = data.test_dataloader() if wanted.split == "test" else data.val_dataloader()
    return measure(model, loader, choice).result(wanted.split)


@torch.inference_mode()
def measure(model: nn.Module, loader: Iterable[Any], choice: Choice) -> MetricSums:
    """Return the metric sums of a network over the batches (images and labels) of `loader`."""
    device = torch.device(choice.device)
    memory_format = torch.channels_last if choice.channels_last else torch.contiguous_format
    model.to(device).to(memory_format=memory_format).eval()
    sums = MetricSums()
    bfloat16 = choice.precision == "bf16-mixed"
    for images, labels in loader:
        with torch.autocast(choice.device, torch.bfloat16, enabled=bfloat16):
            logits = logits_of(model(images.to(device, memory_format=memory_format)))
        loss = nn.functional.cross_entropy(logits.float(), labels.to(device))
        sums.add(loss, logits, labels.to(device))
    return sums
