"""What a run needs: the runs that must finish before it, and its input files. All code asks here.

The lifecycle of a single run and the scheduler of a sweep both use this. A part of ternlab or a plugin that needs a
run or a file for training registers a function of the settings here; nothing else has to know about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ternlab.algorithms.registry import inputs_of
from ternlab.core.errors import SettingsError
from ternlab.core.roles import BASELINE
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.pairing import baseline_of
from ternlab.settings.root import Settings

# Input files of a training by name, as safetensors or checkpoints.
Inputs = Mapping[str, Path]
NO_INPUTS: Inputs = {}
# The initial weights.
START = "start"

_DEEPEST = 50


@dataclass(frozen=True)
class Need:
    """A run that must be finished before another run.

    Attributes:
        role: its role for the run that needs it, as shown to the user ("baseline"); a run needs one run per role.
        settings: settings of the needed run.
        directory: its run directory, whether or not it was trained.
        gives: inputs of the needing run that are this run's final weights; empty if only its results are used.
        existing: the settings name a finished run. It is never trained and is not part of a sweep's plan.
    """

    role: str
    settings: Settings
    directory: RunDirectory
    gives: tuple[str, ...] = ()
    existing: bool = False

    @classmethod
    def of(cls, role: str, settings: Settings, gives: tuple[str, ...] = ()) -> Need:
        """Return a need for the run of `settings`, which is trained if it is not finished."""
        return cls(role, settings, run_directory(settings.paths.runs, run_id(settings)), gives)


# Where an input comes from: a file, or the role of a needed run, meaning its final weights.
Source = Path | str
DeclareNeeds = Callable[[Settings], Iterable[Need]]
DeclareInputs = Callable[[Settings], Mapping[str, Source]]

NEEDS: dict[str, DeclareNeeds] = {}
INPUTS: dict[str, DeclareInputs] = {}


def register_needs(declare: DeclareNeeds) -> DeclareNeeds:
    """Register a function that returns the runs that a run needs; it must not import torch.

    It may depend only on settings that are part of the run ID: the same run always needs the same runs.
    """
    NEEDS[_name(declare)] = declare
    return declare


def register_inputs(declare: DeclareInputs) -> DeclareInputs:
    """Register a function that returns the inputs of a training and their sources; see `register_needs`."""
    INPUTS[_name(declare)] = declare
    return declare


def needs(settings: Settings) -> tuple[Need, ...]:
    """Return the runs that must be finished before the run of `settings`, and the inputs that each provides.

    Runs that these runs need in turn are not included; see `ordered`.

    Raises:
        SettingsError: the settings name a run that cannot be used, or registered functions contradict each other.
    """
    found: dict[str, Need] = {}
    for need in (need for declare in NEEDS.values() for need in declare(settings)):
        before = found.setdefault(need.role, need)
        if before.directory != need.directory:
            runs = f"{before.directory.run_id} and {need.directory.run_id}"
            raise SettingsError(
                "needs", value=need.role, rule=f"two runs have this role: {runs}", instead="use two different roles"
            )
        found[need.role] = replace(before, gives=(*before.gives, *need.gives))
    for name, source in _sources(settings):
        if isinstance(source, Path):
            continue
        if source not in found:
            raise SettingsError(name, value=source, rule=f"this run has no {source}", instead=f"{name}=FILE")
        found[source] = replace(found[source], gives=(*found[source].gives, name))
    _check_given_once(settings, found.values())
    return tuple(map(_tidied, found.values()))


def inputs(settings: Settings, needed: Iterable[Need]) -> Inputs:
    """Return the input files of the training of `settings`.

    Args:
        settings: settings of the run.
        needed: its needs; their files exist once these runs are finished.
    """
    files = {name: source for name, source in _sources(settings) if isinstance(source, Path)}
    return {**files, **{name: need.directory.weights_file for need in needed for name in need.gives}}


def ordered(needed: Iterable[Need], run: str) -> list[tuple[Need, tuple[Need, ...]]]:
    """Return every run that another run needs, directly or indirectly, each once and with its own needs.

    Each run comes after all runs that it needs.

    Args:
        needed: the needs of the other run.
        run: the ID of the other run.

    Raises:
        SettingsError: a run needs itself, or any error of `needs`.
    """
    found: dict[RunDirectory, tuple[Need, tuple[Need, ...]]] = {}

    def visit(direct: Iterable[Need], way: tuple[str, ...]) -> None:
        for need in direct:
            further = (*way, need.directory.run_id)
            if need.directory.run_id in way or len(further) > _DEEPEST:
                raise _endless(further)
            if need.directory not in found:
                own = () if need.existing else needs(need.settings)
                visit(own, further)
                found[need.directory] = (need, own)

    visit(needed, (run,))
    return list(found.values())


def _endless(way: tuple[str, ...]) -> SettingsError:
    known = way[-1] in way[:-1]
    return SettingsError(
        "needs",
        value=" -> ".join(way if known else (*way[:3], "...")),
        rule="a run cannot need itself" if known else f"more than {_DEEPEST} runs, each of which needs the next",
        instead="make the functions passed to register_needs return () for the last run",
    )


def _tidied(need: Need) -> Need:
    """Return a need with each input once and without `force`, which restarts only the run itself."""
    settings = need.settings.model_copy(update={"force": False}) if need.settings.force else need.settings
    return replace(need, settings=settings, gives=tuple(dict.fromkeys(need.gives)))


def _sources(settings: Settings) -> list[tuple[str, Source]]:
    return [entry for declare in INPUTS.values() for entry in declare(settings).items()]


def _check_given_once(settings: Settings, needed: Iterable[Need]) -> None:
    """Reject an input that has two sources."""
    given: dict[str, str] = {}
    files = [(name, str(source)) for name, source in _sources(settings) if isinstance(source, Path)]
    for name, place in (*files, *((name, need.directory.run_id) for need in needed for name in need.gives)):
        if given.setdefault(name, place) != place:
            raise SettingsError(
                "inputs", value=name, rule=f"would come from {given[name]} and from {place}", instead="keep one of them"
            )


def _name(declare: Callable[..., object]) -> str:
    # A module that is imported again replaces its earlier entry.
    return f"{declare.__module__}:{declare.__qualname__}"


@register_needs
def _baseline(settings: Settings) -> Iterable[Need]:
    if not settings.quant.active:
        return ()
    twin, directory = baseline_of(settings)
    return (Need(BASELINE, twin, directory, existing=settings.baseline.run is not None),)


@register_inputs
def _first_weights(settings: Settings) -> Mapping[str, Source]:
    if not settings.quant.active or settings.quant.init == "scratch":
        return {}
    if settings.quant.init == "file":
        return {START: Path(str(settings.quant.init_file)).expanduser()}
    return {START: BASELINE}


@register_inputs
def _of_the_algorithm(settings: Settings) -> Mapping[str, Source]:
    files = {one.name: one.source for one in inputs_of(settings)}
    return {name: BASELINE if source == BASELINE else Path(source).expanduser() for name, source in files.items()}
