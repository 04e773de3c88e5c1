"""`--help`: the examples, choices and settings of a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.commands.choices import choices_text, own_folders

_WORDS = frozenset(("--help", "-h"))
# Options that select another configuration than the command's own: Hydra prints their help.
_ELSEWHERE = ("--config-path", "-cp", "--config-name", "-cn")


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for `help_text`."""
    names = {argument.partition("=")[0] for argument in arguments}
    return not _WORDS.isdisjoint(names) and names.isdisjoint(_ELSEWHERE)


def help_text(config: Path, arguments: Sequence[str], overrides: Sequence[str]) -> str:
    """Return the help of a command, with the settings that `overrides` produce.

    Hydra's own help takes seconds: it opens every configuration folder for every choice.

    Args:
        config: path of the primary configuration.
        arguments: the command line.
        overrides: the overrides among the arguments.
    """
    folders = list(own_folders(arguments))
    searched = [f"hydra.searchpath=[{','.join(f'file://{folder.resolve()}' for folder in folders)}]"] if folders else []
    with initialize_config_dir(str(config.parent.resolve()), version_base="1.3"):
        whole = compose(config.stem, overrides=[*overrides, *searched], return_hydra_config=True)
    own = OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"])
    template = Template(str(OmegaConf.select(whole, "hydra.help.template")))
    groups = choices_text([config.parent, *folders])
    return template.safe_substitute(APP_CONFIG_GROUPS=groups, CONFIG=OmegaConf.to_yaml(own))
