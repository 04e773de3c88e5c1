"""Lets Hydra read the defaults of the settings classes (see `ternlab.commands.defaults`).

Hydra takes plugins only from the package `hydra_plugins` and imports it in every command, so keep this module light.
"""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf


class DefaultsSource(ConfigSource):
    """Serves the parts that the options in conf/ are made of; it lists none, because users do not select them."""

    @staticmethod
    def scheme() -> str:
        """Return the name of the source in a search path."""
        return "ternlab"

    def load_config(self, config_path: str) -> ConfigResult:
        """Return one part."""
        from ternlab.commands.defaults import defaults

        values = defaults()[config_path.removesuffix(".yaml")]
        return ConfigResult(self.provider, f"{self.scheme()}://", OmegaConf.create(values), header={"package": None})

    def available(self) -> bool:
        """Return True: the defaults are always available."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return False: only conf/ has groups."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Return whether there is such a part."""
        name = config_path.removesuffix(".yaml")
        if not name.rpartition("/")[2].startswith("_"):
            return False
        from ternlab.commands.defaults import defaults

        return name in defaults()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return nothing."""
        return []


class DefaultsSearchPath(SearchPathPlugin):
    """Adds the user's own folders and the defaults to every search path, after all other folders."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the sources; a choice in conf/ wins over one of the same name in a folder of the user."""
        from ternlab.core.user_files import config_folders

        for folder in config_folders():
            search_path.append(provider="user", path=f"file://{folder}")
        search_path.append(provider="ternlab", path="ternlab://")
