"""Run a command through Hydra, and turn its errors into exit codes."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ternlab.commands.help import asks_for_help, help_text
from ternlab.commands.hydra_errors import refuse_values_of_groups, settings_error, with_own_default
from ternlab.core.errors import ExitCode, SettingsError, TernlabError
from ternlab.core.logs import log_to_terminal, replace_unprintable
from ternlab.core.wait_policy import set_wait_policy

Command = Callable[[dict[str, Any]], ExitCode]

# Hydra would create timestamped folders and configure logging; run directories are named by run ID.
_HYDRA_OVERRIDES = (
    "hydra.output_subdir=null",
    "hydra.run.dir=.",
    "hydra.sweep.dir=logs/multirun",
    "hydra.sweep.subdir=.",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)


_MULTIRUN = frozenset(("-m", "--multirun"))
_OVERRIDE = re.compile(r"[+~]*[A-Za-z_][\w./@:]*=")


def run(config: Path, command: Command, multirun: str | None = None) -> int:
    """Run `command` on the configuration that the command line composes, and return the exit code.

    Args:
        config: path of the primary configuration; its folder holds the groups.
        command: takes the resolved configuration as plain values.
        multirun: name of the configuration, in the same folder, that replaces `config` with `-m`.
    """
    set_wait_policy()
    replace_unprintable()
    log_to_terminal()
    # Without this, Hydra prints its own error messages and exits with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    codes: list[ExitCode] = []
    typed = sys.argv[1:]
    if multirun is not None and not _MULTIRUN.isdisjoint(typed):
        config = config.with_stem(multirun)

    if asks_for_help(typed):
        overrides = [argument for argument in typed if _OVERRIDE.match(argument)]
        return int(_guarded(lambda: _printed(help_text(config, typed, overrides)), typed, config))

    def task(composed: DictConfig) -> None:
        codes.append(_guarded(lambda: command(_plain(composed)), typed, config))
        if codes[-1] == ExitCode.INTERRUPTED:
            # A user who interrupts one of several runs means all of them.
            raise SystemExit(int(codes[-1]))

    entry = hydra.main(config_path=str(config.parent.resolve()), config_name=config.stem, version_base="1.3")
    sys.argv[1:] = _with_own_overrides(typed)
    code = _guarded(lambda: _started(entry(task), typed, config), typed, config)
    return int(max([code, *codes]))


def _with_own_overrides(arguments: list[str]) -> list[str]:
    """Add ternlab's Hydra settings and group all overrides together: Hydra requires them to be contiguous."""
    names = {argument.lstrip("+~").partition("=")[0] for argument in arguments}
    own = [override for override in _HYDRA_OVERRIDES if override.partition("=")[0] not in names]
    overrides = [argument for argument in arguments if _OVERRIDE.match(argument)]
    options = [argument for argument in arguments if not _OVERRIDE.match(argument)]
    return [*_with_whole_paths(options), *own, *overrides]


def _with_whole_paths(options: list[str]) -> list[str]:
    """Make the folder of `--config-path` absolute: Hydra resolves relative ones against the script's folder."""
    whole = []
    for before, option in zip(["", *options], options, strict=False):
        name, equals, value = option.partition("=")
        if before in ("--config-path", "-cp") and Path(option).is_dir():
            whole.append(str(Path(option).resolve()))
        elif name == "--config-path" and equals and Path(value).is_dir():
            whole.append(f"{name}={Path(value).resolve()}")
        else:
            whole.append(option)
    return whole


def _printed(text: str) -> ExitCode:
    print(text)
    return ExitCode.DONE


def _started(main: Callable[[], object], typed: list[str], config: Path) -> ExitCode:
    refuse_values_of_groups(typed, config)
    main()
    return ExitCode.DONE


def _plain(composed: DictConfig) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    # Group choices without a value of their own; their contents are already merged.
    return {key: value for key, value in values.items() if key not in ("experiment", "debug")}


def _guarded(action: Callable[[], ExitCode], overrides: list[str], config: Path) -> ExitCode:
    """Run `action`; turn an error into one message on standard error and an exit code."""
    try:
        return action()
    except SettingsError as error:
        _say(str(with_own_default(error, overrides, config)))
        return error.exit_code
    except TernlabError as error:
        _say(str(error))
        return error.exit_code
    except (HydraException, OmegaConfBaseException) as error:
        _say(str(settings_error(error, overrides, config)))
        return ExitCode.BAD_SETTINGS
    except BrokenPipeError:
        # The reader of the output (head, less) has closed the pipe. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except KeyboardInterrupt:
        _say("stopped immediately (re-run the command to resume training from its last checkpoint)")
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost handler
        where = getattr(error, "__notes__", None) or [f"the traceback is in {_traceback_file()}"]
        _say(f"{type(error).__name__}: {error}\n  {where[0]}")
        return ExitCode.FAILED


def _traceback_file() -> Path:
    path = Path(tempfile.gettempdir()) / f"ternlab-traceback-{os.getpid()}.txt"
    path.write_text(traceback.format_exc())
    return path


def _say(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
