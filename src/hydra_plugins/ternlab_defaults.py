"""Gives Hydra the defaults of the settings classes (see `ternlab.commands.defaults`).

Hydra only loads plugins from the package `hydra_plugins` and imports it for every command, so heavy imports are
deferred.
"""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf


class DefaultsSource(ConfigSource):
    """Serves the parts of which the choices in conf/ consist; it lists none, since users do not choose them."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme of the source in a search path."""
        return "ternlab"

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a part."""
        from ternlab.commands.defaults import defaults

        values = defaults()[config_path.removesuffix(".yaml")]
        return ConfigResult(self.provider, f"{self.scheme()}://", OmegaConf.create(values), header={"package": None})

    def available(self) -> bool:
        """Return that the source is available."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return `False`: the groups themselves are in conf/."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Return whether the part exists."""
        name = config_path.removesuffix(".yaml")
        if not name.rpartition("/")[2].startswith("_") or name == "_self_":
            return False
        from ternlab.commands.defaults import defaults

        return name in defaults()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return nothing."""
        return []


class DefaultsSearchPath(SearchPathPlugin):
    """Adds the defaults to every search path, after all folders."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the source."""
        search_path.append(provider="ternlab", path="ternlab://")
