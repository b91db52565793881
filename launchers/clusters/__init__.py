"""The clusters by the words that ``--cluster`` takes, and the states of a sweep's jobs."""

from __future__ import annotations

from collections.abc import Iterable

from launchers.clusters.cluster import Cluster
from launchers.clusters.debug import Debug
from launchers.clusters.local import Local
from launchers.clusters.slurm import Slurm
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.state import Answer, JobState, read_submission, state_of
from pipelines.command.errors import UserError

CLUSTERS: tuple[type[Cluster], ...] = (Local, Slurm, Debug)  # the first is the default


def find_cluster(kind: str) -> type[Cluster]:
    """The cluster of a kind.

    Raises:
        UserError: there is none.
    """
    for cluster in CLUSTERS:
        if cluster.kind == kind:
            return cluster
    raise UserError(f"unknown cluster {kind}: the clusters are {', '.join(c.kind for c in CLUSTERS)}")


def still_queued(folder: SweepFolder, jobs: Iterable[Job]) -> set[str]:
    """Names of jobs that their clusters have in the queue still, whatever the run folders say.

    A job of SLURM ends after its process, and a requeued one starts again. A cluster that does not answer
    may have all of its jobs.
    """
    submissions = [found for job in jobs if (found := read_submission(folder, job))]
    names: set[str] = set()
    for cluster in CLUSTERS:
        theirs = [found for found in submissions if found.cluster == cluster.kind]
        if not theirs or cluster.in_foreground:  # these end with their processes, which hold the run folders
            continue
        try:
            answers = cluster().states(folder, theirs)
        except UserError:
            answers = {found.job.name: Answer("unknown") for found in theirs}
        names |= {name for name, answer in answers.items() if answer.name in ("queued", "running", "unknown")}
    return names


def job_states(
    folder: SweepFolder,
    jobs: Iterable[Job],
    *,
    holding_lock: bool = False,
    silent: list[str] | None = None,
) -> dict[str, JobState]:
    """The state of each job, by its name: every cluster is asked for its own jobs.

    Args:
        holding_lock: whoever asks holds the folder's lock, so that no job runs in another's foreground.
        silent: takes a line per cluster that does not answer or is unknown here, in place of an error;
            the sweep folder alone then tells.

    Raises:
        UserError: a cluster does not answer, or is unknown here.
    """
    jobs = list(jobs)
    submissions = {job.name: read_submission(folder, job) for job in jobs}
    asked = [found for found in submissions.values() if found and not found.job.is_done()]
    answers: dict[str, Answer] = {}
    for kind in dict.fromkeys(submission.cluster for submission in asked):
        theirs = [submission for submission in asked if submission.cluster == kind]
        try:
            cluster = find_cluster(kind)
            if not (cluster.in_foreground and holding_lock):
                answers |= cluster().states(folder, theirs)
        except UserError as error:
            if silent is None:
                raise
            silent.append(str(error))
            answers |= {submission.job.name: Answer("unknown") for submission in theirs}
    return {
        job.name: state_of(folder, job, submissions[job.name], answers.get(job.name, Answer()))
        for job in jobs
    }
