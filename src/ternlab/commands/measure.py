"""The measurement command: measure a packed network in every runtime."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ternlab.core.check import checked
from ternlab.core.cpu import Cpu
from ternlab.core.errors import ExitCode, SettingsError
from ternlab.core.text import aligned
from ternlab.data.fingerprint import check_data
from ternlab.data.settings import DataSettings
from ternlab.export.info import info
from ternlab.export.integer_loss import warning
from ternlab.export.measure_settings import MeasureSettings
from ternlab.export.runtimes import installed
from ternlab.runs.directory import RunDirectory, existing_run, trained_run
from ternlab.settings.load import import_plugins

_log = logging.getLogger(__name__)


def main(config: dict[str, Any]) -> ExitCode:
    """Measure as configured, and print a table or JSON."""
    wanted = checked(MeasureSettings, config)
    import_plugins(wanted.plugins)
    path = Path(wanted.model).expanduser()
    data = _data_settings(wanted, path)
    against = None if wanted.against is None else _full_precision(wanted)
    check_data(data, Path(wanted.paths.data))
    # Deferred: importing torch takes seconds; a typo should fail at once.
    from ternlab.data.module import open_data
    from ternlab.export.measuring import measure
    from ternlab.trained.network import trained_network

    module = open_data(data, Path(wanted.paths.data), seed=0)
    beside = None if against is None else trained_network(against, wanted.paths.data).model
    found = measure(path, module, wanted, beside)
    of_torch = found["runtimes"][0]["top1"]
    for row in found["runtimes"]:
        # Without the baseline, which is timed for comparison but not scored.
        if "int8" in row["runtime"] and row["top1"] is not None:
            words = warning(row["runtime"], row["top1"], of_torch)
            if words is not None:
                _log.warning(words)
    if wanted.json_output:
        print(json.dumps(found))
    else:
        _print(found)
    return ExitCode.DONE


def _data_settings(wanted: MeasureSettings, path: Path) -> DataSettings:
    if wanted.data is not None:
        return checked(DataSettings, wanted.data, prefix="data")
    run_id = info(path).get("run_id")
    if run_id is None:
        raise SettingsError("data", rule=f"{path} does not name its run", instead="'data={name: NAME, root: FOLDER}'")
    try:
        return existing_run(wanted.paths.runs, run_id).settings().data
    except SettingsError:
        raise SettingsError(
            "data",
            rule=f"{path} was exported from run {run_id}, which is not in {wanted.paths.runs}",
            instead="'data={name: NAME, root: FOLDER}', or paths.runs=FOLDER",
        ) from None


def _full_precision(wanted: MeasureSettings) -> RunDirectory:
    directory = trained_run(wanted.paths.runs, str(wanted.against), instead="against=RUN (a finished run)")
    if directory.settings().quant.active:
        raise SettingsError(
            "against",
            value=directory.run_id,
            rule="is quantized",
            instead="against=RUN (a full-precision run, quant=none)",
        )
    return directory


def _print(found: dict[str, Any]) -> None:
    file = found["file"]
    ratio = f", {file['ratio']:.2f}x smaller than float32" if file["ratio"] else ""
    print(f"{file['path']}: {file['rule']}, {file['bytes']:,} bytes{ratio}")
    print(f"{file['bits_per_weight']:.4f} bits per quantized weight, entropy {file['entropy_bits_per_weight']:.4f}")
    batches = list(found["runtimes"][0]["latency"])
    head = ["runtime", "top-1", "difference"]
    for batch in batches:
        head += [f"batch {batch}: ms", "min", "max", "speedup"]
    rows = [tuple(head)]
    for row in found["runtimes"]:
        cells = [row["runtime"], _percent(row["top1"]), "" if row["difference"] is None else f"{row['difference']:.1e}"]
        for batch in batches:
            latency = row["latency"][batch]
            cells += [f"{1000 * latency[key]:.2f}" for key in ("median", "smallest", "largest")]
            cells.append(f"{latency['speed']:.2f}x")
        rows.append(tuple(cells))
    print("", *aligned(rows), "", sep="\n")
    print(f"{found['threads']} threads, runtimes interleaved; speedup: relative to the first row, median of the rounds")
    print(f"CPU: {Cpu(**found['cpu'])}")
    slower = [row["runtime"] for row in found["runtimes"] if all(row["latency"][b]["speed"] < 1 for b in batches)]
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime", "openvino") if not installed(name)]
    if missing:
        print(f"not measured because not installed: {', '.join(missing)}; pip install 'ternlab[export]'")
    if slower:
        print(f"slower than {found['runtimes'][0]['runtime']} at every batch size: {', '.join(slower)}")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} %"
