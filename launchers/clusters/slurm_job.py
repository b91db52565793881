"""The SLURM job that this process runs in: its id and tasks, its state and nodes, its requeueing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import NoReturn

from launchers.clusters.slurm_queue import ask
from pipelines.command.errors import UserError

LOST_NODE = r"^(down|unknown)|[*]"  # sinfo's states; a star: the node does not answer


class JobFailedError(Exception):
    """The job failed for good. The message is the last line of the process."""


def job_id() -> str:
    """SLURM's id of the job that this process runs in: 12, or 12_3 of an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def slurm_state() -> str:
    """SLURM's present state of this job: RUNNING, CANCELLED, TIMEOUT, ...; "" if it does not answer."""
    command = ["scontrol", "--oneliner", "show", "job", job_id()]
    for _ in range(5):  # a busy controller
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        fields = dict(field.split("=", 1) for field in answer.stdout.split() if "=" in field)
        if "JobState" in fields:
            return fields["JobState"]
        time.sleep(2)
    return ""


def node_count() -> int:
    """Nodes of this job."""
    return int(os.environ.get("SLURM_JOB_NUM_NODES", 1))


def lost_node() -> str:
    """A node of this job that is down or does not answer, in SLURM's words; "" without.

    SLURM looks at its nodes every third of SlurmdTimeout, by default 100 s.
    """
    nodes = os.environ.get("SLURM_JOB_NODELIST", "")
    try:
        answer = ask("sinfo", "--noheader", "--Node", f"--nodes={nodes}", "--format=%N %T")
    except UserError:
        return ""
    lost = [line.strip() for line in answer.splitlines() if re.search(LOST_NODE, line.partition(" ")[2])]
    return lost[0] if lost else ""


def requeue(why: str) -> NoReturn:
    """Put this job back into the queue, and end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # SLURM ends the job's processes, `scontrol` among them
    print(f"requeueing {job_id()}: {why}", file=sys.stderr, flush=True)
    command = ["scontrol", "requeue", job_id()]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if answer.returncode:
        raise JobFailedError(f"{why}; it could not be requeued: {answer.stderr.strip()}")
    sys.exit(255)


def rank() -> int:
    """Rank of this task among those of its step."""
    return int(os.environ.get("SLURM_PROCID", 0))


def task_count() -> int:
    """Tasks of this step."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def attempt_id() -> list[str]:
    """Id of this start of the job: the same in all tasks, another one after a requeue."""
    return [job_id(), os.environ.get("SLURM_RESTART_COUNT", "0")]
