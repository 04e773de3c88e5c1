"""Draw what each rule of conf/quant makes of a weight, and the factors of the surrogate gradients.

    python docs/figures/transfer_functions.py [--folder FOLDER] [--png FOLDER]

The weight is that of a 3x3 convolution from 64 to 64 channels, Gaussian with the deviation of He's initialization and a
fixed seed. It goes through the rules themselves, so the pictures follow the code. Rules with a scale for each filter
are drawn for the first filter; zeros and error in the titles are those of the whole weight. The files are SVG
(`--folder`, default: beside this script) and have the same bytes at every call with the same version of matplotlib;
`--png` writes PNG as well.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from torch import Tensor

from ternlab.quantizers.attach import build_quantizer
from ternlab.settings.quant import QuantSettings, quant_settings

HERE = Path(__file__).parent
CONF = HERE.parents[1] / "conf"

SHAPE = (64, 64, 3, 3)
SIGMA = math.sqrt(2 / (64 * 3 * 3))
SEED = 0

# Figure -> overrides beside quant=<rule>, and the options that the title names.
RULES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "tga": ("tga", {}, ("threshold.init", "threshold.unit", "scale")),
    "sws": ("sws", {}, ("factor", "granularity")),
    "rel2": ("rel2", {}, ("rel.factors",)),
    "rel4": ("rel4", {}, ("rel.factors",)),
    "twn": ("twn", {}, ("factor", "granularity")),
    "ttq": ("ttq", {"first_scale": "mean"}, ("factor", "first_scale")),
    "given": ("given", {}, ("granularity",)),
    "bwn": ("bwn", {}, ("granularity",)),
    "absmean": ("absmean", {}, ("factor", "granularity")),
    "lsq": ("lsq", {}, ("bits", "granularity")),
    "lsq2": ("lsq2", {}, ("bits", "granularity")),
    "seq": ("seq", {}, ("factor", "granularity")),
    "uniform": ("uniform", {"bits": 3}, ("bits", "granularity")),
}

# Okabe and Ito's colours, which people with any of the common colour blindnesses tell apart.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY, LIGHT, DARK = "#777777", "#E3E3E3", "#222222"

STYLE = {
    "svg.hashsalt": "ternlab",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": DARK,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "legend.edgecolor": "white",
    "legend.framealpha": 0.9,
}


@dataclass(frozen=True)
class Transfer:
    """What a rule makes of a weight, all in units of the weight's deviation.

    Attributes:
        latent: sorted latent weights.
        effective: their effective weights.
        thresholds: where the effective weight jumps.
        zeros: share of weights whose codes are all 0.
        error: mean of (latent - effective)^2 over sigma^2.
    """

    latent: np.ndarray
    effective: np.ndarray
    thresholds: list[float]
    zeros: float
    error: float


def settings_of(rule: str, options: Mapping[str, Any]) -> QuantSettings:
    """Return the settings of conf/quant/`rule`.yaml with `options` in place of its own."""
    words = [f"quant={rule}", *(f"quant.{name}={value}" for name, value in options.items())]
    composed: Any = OmegaConf.to_container(compose("train", overrides=words), resolve=True)
    return quant_settings(composed["quant"])


def gaussian_weight() -> Tensor:
    """Return the weight that all pictures are made with."""
    return SIGMA * torch.randn(SHAPE, generator=torch.Generator().manual_seed(SEED))


def transfer(settings: QuantSettings) -> Transfer:
    """Send the weight through a rule."""
    weight = gaussian_weight()
    rule = build_quantizer(settings.name, weight, settings.rule)
    with torch.no_grad():
        effective = rule(weight)
    codes = rule.codes(weight)
    error = float((weight - effective).square().mean()) / SIGMA**2
    # One scale for each filter: the levels of one filter are a step function, those of all are not.
    rows = slice(0, 1) if codes.planes[0].scale.ndim else slice(None)
    latent = weight[rows].flatten().numpy() / SIGMA
    order = np.argsort(latent)
    latent, effective = latent[order], effective[rows].flatten().numpy()[order] / SIGMA
    thresholds = [
        float(side.flatten()[0]) / SIGMA
        for plane in codes.planes
        if plane.thresholds is not None
        for side in plane.thresholds
    ]
    zeros = codes.zeros() / weight.numel()
    return Transfer(latent, effective, thresholds or list(jumps(latent, effective)), zeros, error)


def jumps(latent: np.ndarray, effective: np.ndarray) -> np.ndarray:
    """Return the latent weights, halfway between neighbours, at which the effective weight changes."""
    last = np.flatnonzero(np.diff(effective))
    return (latent[last] + latent[last + 1]) / 2


def draw_rule(name: str) -> Figure:
    """Draw effective over latent weight."""
    rule, options, named = RULES[name]
    settings = settings_of(rule, options)
    found = transfer(settings)
    figure, axes = plt.subplots(figsize=(5.0, 3.7), layout="constrained")
    reach = 4.5
    top = 1.18 * max(2.0, float(np.abs(found.effective).max()))
    draw_histogram(axes, found.latent, -top, 0.7 * top)
    axes.plot([-reach, reach], [-reach, reach], color=GREY, linewidth=0.8, label="identity", zorder=2)
    for number, threshold in enumerate(found.thresholds):
        label = "thresholds" if number == 0 else None
        axes.axvline(threshold, color=VERMILLION, linewidth=1.1, linestyle=":", label=label, zorder=3)
    edges = jumps(found.latent, found.effective)
    levels = found.effective[np.searchsorted(found.latent, edges)]
    axes.stairs(
        [found.effective[0], *levels],
        [-reach, *edges, reach],
        baseline=None,
        color=BLUE,
        linewidth=2,
        label="effective weight",
        zorder=4,
    )
    axes.set(xlim=(-reach, reach), ylim=(-top, top))
    axes.set(xlabel="latent weight / sigma", ylabel="effective weight / sigma")
    zeros = f"{100 * found.zeros:.1f} % zeros" if found.zeros else "no zeros"
    facts = f"{len(np.unique(found.effective))} levels, {zeros}, error {found.error:.3f} sigma$^2$"
    axes.set_title(f"{title(name, settings, named)}\n{facts}")
    axes.legend(loc="upper left", handlelength=1.6, borderaxespad=0.2, labelspacing=0.3).set_zorder(5)
    return figure


def draw_histogram(axes: Axes, latent: np.ndarray, bottom: float, height: float) -> None:
    """Draw the latent weights' histogram from `bottom` up, without an axis of its own."""
    counts, edges = np.histogram(latent, bins=45 if latent.size > 1000 else 25, range=(-4.5, 4.5))
    rows = bottom + height * counts / counts.max()
    axes.stairs(rows, edges, baseline=bottom, fill=True, color=LIGHT, label="latent weights", zorder=1)


def title(name: str, settings: QuantSettings, named: tuple[str, ...]) -> str:
    """Return the choice of conf/quant and the options that the picture depends on."""
    words = []
    for option in named:
        value: Any = settings.rule
        for part in option.split("."):
            value = getattr(value, part)
        text = "[" + ", ".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)
        words.append(f"{option}={text}")
    return f"quant={name}: {', '.join(words)}"


def draw_surrogates() -> Figure:
    """Draw the factor of the gradient over the latent weight, for a rule with a range and one without."""
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.1), layout="constrained", sharey=True)
    cases: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("lsq", "lsq: clips to its own range", {"surrogate.bound": "null"}),
        ("twn", f"twn: no range; surrogate.bound=0.1 ({0.1 / SIGMA:.1f} sigma)", {"surrogate.bound": 0.1}),
    )
    styles = {"straight": (GREEN, "--"), "clipped": (PURPLE, "-"), "stable": (BLUE, "-")}
    for axes, (rule, text, options) in zip(panels, cases, strict=True):
        for kind, (color, line) in styles.items():
            settings = settings_of(rule, {"surrogate.kind": kind, **options})
            thresholds = transfer(settings).thresholds
            latent, factor = gradient_factor(settings, thresholds)
            axes.plot(latent, factor, color=color, linestyle=line, linewidth=1.8, label=kind)
        for number, threshold in enumerate(thresholds):
            label = "thresholds" if number == 0 else None
            axes.axvline(threshold, color=VERMILLION, linewidth=1.1, linestyle=":", label=label)
        axes.set(xlim=(-3.5, 3.5), ylim=(-0.05, 1.1), xlabel="latent weight / sigma", title=text)
    panels[0].set_ylabel("factor of the gradient")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def gradient_factor(settings: QuantSettings, peaks: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return latent weights and what a gradient of 1 to each effective weight has become when it reaches them."""
    weight = gaussian_weight().requires_grad_()
    build_quantizer(settings.name, weight.detach(), settings.rule)(weight).sum().backward()
    assert weight.grad is not None
    latent, factor = weight.detach().flatten().numpy() / SIGMA, weight.grad.flatten().numpy()
    order = np.argsort(latent)
    # Weights near a regular grid and the peaks; all of them would make a file of megabytes.
    grid = np.searchsorted(latent[order], np.sort([*np.linspace(-3.5, 3.5, 281), *peaks]))
    return latent[order][grid], factor[order][grid]


def save(figure: Figure, name: str, folder: Path, png: Path | None) -> None:
    """Write `name`.svg without what changes from one call to the next, and `name`.png where it is wanted."""
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    if png is not None:
        figure.savefig(png / f"{name}.png", dpi=130)
    plt.close(figure)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=HERE, help="where the SVG files go")
    parser.add_argument("--png", type=Path, help="where PNG files go as well")
    arguments = parser.parse_args()
    mpl.use("agg")
    mpl.rcParams.update(STYLE)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name in RULES:
            save(draw_rule(name), name, arguments.folder, arguments.png)
        save(draw_surrogates(), "surrogates", arguments.folder, arguments.png)


if __name__ == "__main__":
    main()
