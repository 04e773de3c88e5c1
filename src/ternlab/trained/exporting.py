"""Exports a finished run to a file, and adds the file's sizes to the run's record."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ternlab.core.cpu import this_cpu
from ternlab.core.errors import SettingsError
from ternlab.core.registry import imported
from ternlab.export.folding import NotTraceableError, inference_network
from ternlab.export.header import Architecture, Packing
from ternlab.export.info import info
from ternlab.export.integer_loss import warning
from ternlab.export.packed import save
from ternlab.export.runtimes import need, onnx_runtime
from ternlab.export.settings import ExportSettings
from ternlab.export.target_settings import OnnxSettings, PackedSettings, StateDictSettings
from ternlab.export.targets import TARGETS
from ternlab.metrics.registry import BASELINE, DEGRADATION, TEST
from ternlab.runs.directory import RunDirectory
from ternlab.runs.record import write_record
from ternlab.trained.network import Trained, trained_network
from ternlab.training.network import save_weights

_log = logging.getLogger(__name__)

_PACKINGS: dict[str, Packing] = {"trit5": "trit5", "2bit": "bits", "entropy": "entropy"}
_KEPT = (
    TEST,
    "test/top5",
    BASELINE,
    DEGRADATION,
    "quant/sparsity",
    "size/float_bytes",
    "size/quantized_bytes",
)


def export_run(directory: RunDirectory, wanted: ExportSettings) -> dict[str, float]:
    """Write the file, add its metrics (`export/...`) to the run's record, and return them.

    Raises:
        SettingsError: the run, the format or the data cannot be used; a package is not installed.
    """
    entry = TARGETS.entry(wanted.format)
    for package in entry.packages:
        need(package, "format", wanted.format)
    trained = trained_network(directory, wanted.paths.data)
    path = target(directory, wanted)
    _make_folder(path, wanted)
    found: dict[str, float] = imported(entry.writer)(directory, trained, wanted, path)
    _keep(directory, found, path, wanted)
    return found


def _make_folder(path: Path, wanted: ExportSettings) -> None:
    """Create the export folder in the run; a typed folder must exist, since it may be a typo."""
    if wanted.out is None:
        path.parent.mkdir(exist_ok=True)
    elif not path.parent.is_dir():
        raise SettingsError(
            "out", value=wanted.out, rule=f"there is no folder {path.parent}", instead=f"mkdir -p {path.parent}"
        )


def target(directory: RunDirectory, wanted: ExportSettings) -> Path:
    """Return the path of the file to write."""
    if wanted.out is not None:
        return Path(wanted.out).expanduser()
    return directory.path / "export" / wanted.file_name


def write_state_dict(
    directory: RunDirectory, trained: Trained, wanted: StateDictSettings, path: Path
) -> dict[str, float]:
    """Write the effective weights in float, and return the bytes of the file."""
    save_weights(inference_network(trained.model).network, path)
    return {"export/state_dict_bytes": float(path.stat().st_size)}


def write_packed(directory: RunDirectory, trained: Trained, wanted: PackedSettings, path: Path) -> dict[str, float]:
    """Write a packed file, and return its bytes, its ratio and its bits per weight.

    Raises:
        SettingsError: the run is in full precision, or its network cannot be folded.
    """
    _refuse_full_precision(trained, directory)
    header = _header(directory, trained)
    try:
        save(
            trained.model,
            path,
            packing=_PACKINGS[wanted.packing],
            fold=wanted.fold_batchnorm,
            rule=header["rule"],
            architecture=Architecture.model_validate(header["architecture"]),
            preprocessing=header["preprocessing"],
            run_id=header["run_id"],
            metrics=header["metrics"],
        )
    except NotTraceableError as error:
        raise SettingsError("fold_batchnorm", value=True, rule=error.reason, instead="fold_batchnorm=false") from error
    found = info(path)
    return {
        "export/bytes": float(found["bytes"]),
        "export/ratio": found["ratio"],
        "export/bits_per_weight": found["bits_per_weight"],
    }


def write_onnx_file(directory: RunDirectory, trained: Trained, wanted: OnnxSettings, path: Path) -> dict[str, float]:
    """Write an ONNX file, and return its bytes; with int8 activations also its top-1."""
    # Deferred: optional packages.
    from ternlab.export.integer import with_integer_activations
    from ternlab.export.onnx_file import onnx_model, write_onnx

    shape = trained.shape.channels, trained.shape.size, trained.shape.size
    header = {**_header(directory, trained), "activations": wanted.activations}
    if wanted.activations == "float32":
        size = write_onnx(onnx_model(trained.model, shape, integers=True), path, header)
        return {"export/onnx_bytes": float(size)}
    # Deferred: Lightning takes seconds to import.
    from ternlab.data.module import open_data
    from ternlab.export.calibration import calibration_batches
    from ternlab.export.scoring import top1

    settings = trained.settings
    data = open_data(settings.data, Path(settings.paths.data), settings.seed)
    proto = onnx_model(trained.model, shape, integers=False)
    proto = with_integer_activations(proto, calibration_batches(data, wanted.images), wanted.calibration)
    write_onnx(proto, path, header)
    found = top1(onnx_runtime(path, "int8"), data.test_dataloader())
    of_torch = header["metrics"][TEST]
    scores = {"export/int8_top1": found, "export/int8_loss_top1": of_torch - found}
    if (words := warning(str(path), found, of_torch)) is not None:
        _log.warning(words)
    header["metrics"] = {**header["metrics"], **scores}
    size = write_onnx(proto, path, header)
    return {"export/int8_bytes": float(size), **scores}


def _header(directory: RunDirectory, trained: Trained) -> dict[str, Any]:
    record = directory.record() or {}
    facts = record["facts"]
    settings = trained.settings
    model = {"name": settings.model.name, **settings.model.options()}
    metrics = record["metrics"]
    return {
        "run_id": directory.run_id,
        "rule": settings.quant.label,
        "architecture": {
            "model": model,
            "channels": trained.shape.channels,
            "size": trained.shape.size,
            "classes": facts["classes"],
        },
        "preprocessing": facts["preprocessing"],
        "metrics": {name: metrics[name] for name in _KEPT if name in metrics},
    }


def _refuse_full_precision(trained: Trained, directory: RunDirectory) -> None:
    if not trained.settings.quant.active:
        raise SettingsError(
            "format",
            value="packed",
            rule=f"{directory.run_id} is a full-precision run, which has no codes to pack",
            instead="format=state_dict, or format=onnx, or run=ID (a quantized run)",
        )


def _keep(directory: RunDirectory, found: dict[str, float], path: Path, wanted: ExportSettings) -> None:
    """Add the results to the run's record: the metrics are those of the latest file, `exports` lists every file."""
    options = wanted.model_dump(mode="json", exclude=set(ExportSettings.model_fields) - {"format"})
    if "export/int8_top1" in found:
        # int8 kernels differ between CPUs, and so may their results.
        options["measured_on"] = str(this_cpu())
    with directory.lock():
        record = directory.record() or {}
        record["metrics"] = {**record["metrics"], **found}
        record["exports"] = {**record.get("exports", {}), str(path.absolute()): {**options, **found}}
        write_record(directory.record_file, record)
