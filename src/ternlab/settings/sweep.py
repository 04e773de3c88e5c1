"""Settings of a sweep, beside those of its trials."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ternlab.settings.fields import NonNegativeInt, PositiveInt, Section


class ClusterSettings(Section):
    """Where trials run.

    Attributes:
        name: `local`: processes on this machine.
        workers: trials beside one another (`None`: one for each core).
        threads: of each trial (`None`: the cores divided by the workers).
    """

    name: Literal["local"] = "local"
    workers: PositiveInt | None = None
    threads: PositiveInt | None = None


class SweepSettings(Section):
    """How a plan is carried out.

    Attributes:
        sweep: id of a sweep to go on with as it was planned, whatever the configuration says by now.
        cluster: where trials run.
        dry_run: print the plan and start nothing.
        retries: how often a trial that has failed is started again.
        allow_other_code: go on with a sweep that was planned by another commit or with other changes.
    """

    sweep: str | None = None
    cluster: ClusterSettings = Field(default_factory=ClusterSettings)
    dry_run: bool = False
    retries: NonNegativeInt = 1
    allow_other_code: bool = False
