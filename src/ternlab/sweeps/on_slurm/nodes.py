"""The nodes of SLURM's partitions, from the output of `sinfo`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_GPUS = re.compile(r"gpu(?::[^:,()]+)?:(\d+)")


@dataclass(frozen=True)
class Nodes:
    """Identical nodes of one partition.

    Attributes:
        partition: name of the partition.
        default: whether it is the default partition.
        minutes: time limit of a job (`None`: no limit).
        count: number of these nodes.
        cpus, mem_gb, gpus: per node; 0 GB if the cluster does not report it.
    """

    partition: str
    default: bool
    minutes: int | None
    count: int
    cpus: int
    mem_gb: int
    gpus: int

    def most(self, setting: str) -> int:
        """Return how much a node has of the resource of a `cluster` setting."""
        return {"gpus_per_node": self.gpus, "cpus_per_task": self.cpus, "mem_gb": self.mem_gb}[setting]

    def has(self, setting: str, value: int | None) -> bool:
        """Return whether a node has this much; a node with unreported memory may have enough."""
        unknown = setting == "mem_gb" and not self.mem_gb
        return value is None or unknown or value <= self.most(setting)


def parse_nodes(text: str) -> list[Nodes]:
    """Parse the output of `sinfo --exact --format="%P|%l|%D|%c|%m|%G"`."""
    return [_nodes(words) for line in text.splitlines() if len(words := line.strip().split("|")) == 6]


def minutes(text: str) -> int | None:
    """Return a time of SLURM (`1-12:00:00`, `30:00`, `infinite`) in whole minutes, `None` for no limit."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+)*", text):
        return None
    days, _, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    # minutes, minutes:seconds, hours:minutes:seconds; after days, hours come first.
    hours, least = (parts[0], [*parts, 0][1]) if days or len(parts) == 3 else (0, parts[0])
    return (int(days or 0) * 24 + hours) * 60 + least


def _nodes(words: list[str]) -> Nodes:
    name, limit, count, cpus, mem, gres = words
    return Nodes(
        partition=name.rstrip("*"),
        default=name.endswith("*"),
        minutes=minutes(limit),
        count=_number(count),
        cpus=_number(cpus),
        mem_gb=_number(mem) // 1024,
        gpus=sum(int(number) for number in _GPUS.findall(gres)),
    )


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
