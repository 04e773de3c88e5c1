"""Sphinx configuration of the documentation: `make docs`."""

from ternlab import __version__

project = "ternlab"
author = "the authors of ternlab"
copyright = "2026, the authors of ternlab"  # noqa: A001 - the name that Sphinx reads
release = version = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build", "figures/*.py"]
# Headings can be linked to, down to the third level, as on the pages of the repository.
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"ternlab {__version__}"
html_copy_source = False
