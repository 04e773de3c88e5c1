"""Settings of a summary."""

from __future__ import annotations

from pydantic import Field

from ternlab.core.fields import Section


class SummarizeSettings(Section):
    """Settings of a summary, in addition to those of a training.

    Attributes:
        run: run ID, a unique prefix or suffix of it, or the run directory; its final weights are summarized. `None`:
            a freshly initialized network with the given settings.
        json_output: print one JSON object instead of the table (`json` in the configuration).
    """

    run: str | None = None
    json_output: bool = Field(default=False, alias="json")
