"""The export command: write a run's network to a file."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from ternlab.core.errors import ExitCode
from ternlab.export.targets import export_settings
from ternlab.runs.directory import trained_run
from ternlab.settings.load import import_plugins


def main(config: dict[str, Any]) -> ExitCode:
    """Export as the resolved configuration says, and print the file and its sizes."""
    import_plugins(config.get("plugins") or ())
    wanted = export_settings(config)
    directory = trained_run(wanted.paths.runs, wanted.run, instead="re-run the command in its record to finish it")
    # Deferred: importing torch takes seconds, which a typo must not pay.
    from ternlab.trained.exporting import export_run, target

    found = export_run(directory, wanted)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{target(directory, wanted)}")
    metrics = (directory.record() or {})["metrics"]
    for name, value in found.items():
        shown = f"{value:,.0f}" if name.endswith("bytes") else f"{value:.4f}"
        console.print(f"{name.removeprefix('export/'):18} {shown}")
    if "export/ratio" in found:
        console.print(
            f"\nThe parameters take {metrics['size/float_bytes']:,.0f} bytes in float32. Counted as in published "
            "tables (whole bits per code, 2 for ternary), "
            f"the compression ratio is {metrics['compression/ratio']:.2f}x."
        )
    return ExitCode.DONE
