"""The results table printed at the end of a run."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ternlab.metrics.registry import HEADLINE, METRICS, counted
from ternlab.runs.directory import RunDirectory
from ternlab.runs.record import Record


def print_table(directory: RunDirectory) -> None:
    """Print the results of a finished run to standard output, next to its baseline's if it has one."""
    record = directory.record() or {}
    baseline = record.get("baseline")
    table = Table(title=f"{record['model']} on {record['data']}", title_justify="left", show_header=True)
    table.add_column("")
    for name in ("full precision", record["quant"]) if baseline else (_title(record),):
        table.add_column(name, justify="right")
    for row in _rows(record, baseline):
        table.add_row(*row)
    console = Console(soft_wrap=True)
    console.print(table)
    if baseline:
        console.print(f"full precision: {baseline['path']}", highlight=False)
    console.print(f"{_title(record)}: {directory.path}", highlight=False)


def _title(record: Record) -> str:
    return "full precision" if record["quant"] == "none" else str(record["quant"])


def _rows(record: Record, baseline: Record | None) -> list[tuple[str, ...]]:
    found = record["metrics"]
    measured = [name for name in counted() if f"test/{name}" in found]
    if baseline is None:
        return [
            *((f"test {METRICS[name].title}", _shown(name, found[f"test/{name}"])) for name in measured),
            ("size", _size(found["size/float_bytes"])),
            ("epochs", str(record["epochs"])),
            ("seconds", f"{record['seconds']:.0f}"),
        ]
    full = baseline["metrics"]
    return [
        *(
            (f"test {METRICS[name].title}", _shown(name, full.get(f"test/{name}")), _shown(name, found[f"test/{name}"]))
            for name in measured
            if name == HEADLINE or not METRICS[name].paired
        ),
        *(
            (f"degradation, {METRICS[name].title}", "", _shown(name, found[f"degradation/{name}"], cost=True))
            for name in measured
            if f"degradation/{name}" in found
        ),
        ("sparsity", "", f"{100 * found['quant/sparsity']:.1f} %"),
        ("size", _size(found["size/float_bytes"]), _size(found["size/quantized_bytes"])),
        ("compression", "", f"{found['compression/ratio']:.2f}x"),
        ("epochs", str(baseline["epochs"]), _epochs(record, baseline)),
        ("seconds", f"{baseline['seconds']:.0f}", f"{record['seconds']:.0f}"),
    ]


def _shown(name: str, value: float | None, *, cost: bool = False) -> str:
    """Return a metric's value as a table cell; with `cost` it is a degradation and gets a sign."""
    if value is None:
        return ""
    entry = METRICS[name]
    unit = {"percent": " points" if cost else " %"}.get(entry.unit, "")
    return f"{value:{'+' if cost else ''}.{entry.digits}f}{unit}"


def _epochs(record: Record, baseline: Record) -> str:
    """Return the epochs of the quantized run, preceded by its baseline's if it starts from there."""
    own = str(record["epochs"])
    return f"{baseline['epochs']} + {own}" if record.get("starts_from") == "baseline" else own


def _size(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
