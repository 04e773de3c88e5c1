"""What became of a job, from answers that SLURM 22.05 gave."""

from __future__ import annotations

import pytest

from ternlab.slurm.state import Fate, fate

LINE = (
    "JobId=3 JobName={name} UserId=root(0) GroupId=root(0) MCS_label=N/A Priority=1 Nice=0 Account=(null) QOS=(null) "
    "JobState={state} Reason={reason} Dependency=(null) Requeue=1 Restarts={restarts} BatchFlag=1 Reboot=0 "
    "ExitCode=0:0 RunTime=00:00:02 TimeLimit=00:10:00 Command=/tmp/a Comment={comment}"
)


@pytest.mark.parametrize(
    ("state", "reason", "restarts", "expected"),
    [
        ("RUNNING", "None", 1, Fate.RUNNING),
        # SLURM has requeued it, at a preemption with GraceTime=0 or at `scontrol requeue`; its processes still end.
        ("COMPLETING", "None", 2, Fate.REQUEUED),
        ("PENDING", "BeginTime", 2, Fate.REQUEUED),
        ("RUNNING", "None", 2, Fate.REQUEUED),
        ("PENDING", "None", 1, Fate.REQUEUED),
        ("COMPLETING", "TimeLimit", 1, Fate.TIMED_OUT),
        ("TIMEOUT", "TimeLimit", 1, Fate.TIMED_OUT),
        # scancel
        ("COMPLETING", "None", 1, Fate.ENDED),
        ("CANCELLED", "None", 1, Fate.ENDED),
        ("FAILED", "NonZeroExitCode", 1, Fate.ENDED),
    ],
)
def test_fate(state: str, reason: str, restarts: int, expected: Fate) -> None:
    said = LINE.format(name="train", state=state, reason=reason, restarts=restarts, comment="(null)")
    assert fate(said, restarts=1) == expected


def test_neither_name_nor_comment_of_a_job_can_pretend() -> None:
    said = LINE.format(name="Restarts=9", state="COMPLETING", reason="None", restarts=1, comment="x Restarts=9")
    assert fate(said, restarts=1) == Fate.ENDED


def test_an_answer_about_nothing_is_no_reason_to_requeue() -> None:
    assert fate("", restarts=0) == Fate.ENDED
