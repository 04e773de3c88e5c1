"""Settings of a summary."""

from __future__ import annotations

from pydantic import Field

from ternlab.core.fields import Section


class SummarizeSettings(Section):
    """What a summary takes beside the settings of a training.

    Attributes:
        run: id of a run, a unique beginning or ending of it, or its folder; its final weights are summarized. `None`:
            a freshly initialized network of the settings.
        json_output: print one JSON object in place of the table (`json` in the configuration).
    """

    run: str | None = None
    json_output: bool = Field(default=False, alias="json")
