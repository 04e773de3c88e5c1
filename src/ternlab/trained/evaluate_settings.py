"""Settings of an evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ternlab.core.errors import Conflict
from ternlab.core.fields import PositiveInt, Section
from ternlab.settings.root import PathSettings


class EvaluateSettings(Section):
    """What to evaluate, and on which images.

    Attributes:
        run: run ID, a unique prefix or suffix of it, or the run directory; its final weights are evaluated.
        ckpt_path: a checkpoint in a run directory, instead of the final weights.
        split: `test` or `val`.
        json_output: print one JSON object instead of the table (`json` in the configuration).
        batch_size: images per batch.
    """

    run: str | None = None
    ckpt_path: str | None = None
    split: Literal["test", "val"] = "test"
    json_output: bool = Field(default=False, alias="json")
    batch_size: PositiveInt = 256
    paths: PathSettings = Field(default_factory=PathSettings)

    @model_validator(mode="after")
    def _one_source(self) -> EvaluateSettings:
        if (self.run is None) == (self.ckpt_path is None):
            rule = "exactly one of run=ID and ckpt_path=FILE must be given"
            if self.run is None:
                raise Conflict(rule, {"run": "ID"}, {"ckpt_path": "FILE"})
            raise Conflict(rule, {"run": "ID", "ckpt_path": None}, {"run": None, "ckpt_path": "FILE"})
        return self
