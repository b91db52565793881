"""Decisions of a search's driver: it settles what has ended, and begins what the free shares can take.

Several drivers may share a search: each decides while it holds the search's lock. What a driver trains on its
own machine is known by a lock too, which ends with the driver; a process that outlives its driver is waited
for by its run folder's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from fastssl.run.divergence import DIVERGED
from fastssl.run.metrics import read_metrics
from launchers.clusters import job_states, still_queued
from launchers.clusters.cluster import Cluster
from launchers.searching.definition import Search
from launchers.searching.folder import SearchFolder, deciding
from launchers.searching.halving import promoted
from launchers.searching.journal import Journal, Stretch, cut_broken_line
from launchers.searching.measure import measured
from launchers.searching.trials import as_study, best_of, standing_of, table_lines, trials_of, write_results
from launchers.sweeps.attempts import read_attempts
from launchers.sweeps.job import Job
from launchers.sweeps.json_file import is_number
from launchers.sweeps.prepare import write_plan
from launchers.sweeps.state import ACTIVE, JobState, read_submission
from launchers.sweeps.study import text_of
from pipelines.command.errors import UserError
from pipelines.command.suggest import suggest
from pipelines.command.text import visible
from pipelines.files import folder_lock

_HOPELESS = 3  # failures without a single success after which a search stops


class Conductor:
    """Decisions of one driver.

    Args:
        folder: the search's; its snapshot of the code is there.
        job: that of a trial, but for its run and where it pauses.
        submit: hands jobs to the cluster, and writes down that it did.
        command: that resumes the search.

    Attributes:
        mistake: why the search stops before its end, in a line; "" while it does not.
    """

    def __init__(
        self,
        folder: SearchFolder,
        search: Search,
        cluster: Cluster,
        job: Job,
        submit: Callable[[Sequence[Job]], None],
        command: Sequence[str],
    ) -> None:
        self.folder, self.search, self.cluster = folder, search, cluster
        self.mistake = ""
        self._job, self._submit, self._command = job, submit, command
        self._journal = Journal(folder.journal, search.space, minimize=search.minimize, seed=search.seed)
        self._begun: set[str] = set()  # runs that this driver has begun
        self._failures: list[str] = []  # that it has told, each a line
        self._written: list[Stretch] | None = None
        self._held: dict[str, ExitStack] = {}  # locks of those that it trains on this machine

    def turn(self, under_way: Collection[str], room: int) -> list[Job] | None:
        """Settle stretches, and begin others.

        Args:
            under_way: runs of this driver whose processes it watches.
            room: jobs that may begin.

        Returns:
            the jobs that began; None where no more will: the search is over, or ``mistake`` ends it.
        """
        with deciding(self.folder):
            cut_broken_line(self.folder.journal)
            for run in self._held.keys() - set(under_way):
                self._held.pop(run).close()
            idle = self._settle(under_way)
            jobs = [] if self.mistake else self._begin(idle, room)
            stretches = self._journal.stretches()
            if stretches != self._written:
                write_results(self.folder, self.search, stretches, self._command)
                self._written = stretches
            over = not any(stretch.state == "open" for stretch in stretches)
        return None if self.mistake or (over and not jobs) else jobs

    def table(self) -> list[str]:
        """The trials as lines of text, the best first."""
        with deciding(self.folder):
            return table_lines(trials_of(self._journal.stretches(), self.search), self.search)

    def close(self) -> None:
        """Let go of all runs."""
        for held in self._held.values():
            held.close()
        self._held = {}

    # --- what has ended -------------------------------------------------------------------------------------

    def _settle(self, under_way: Collection[str]) -> list[Stretch]:
        """Tell the journal how stretches ended. Returns those that nobody works on."""
        stretches = [each for each in self._journal.stretches() if each.state == "open"]
        stretches = [each for each in stretches if each.run not in under_way and not self._is_driven(each)]
        jobs = {each.run: self._jobs_of(each) for each in stretches}
        every = [job for each in stretches for job in jobs[each.run]]
        states = job_states(self.folder, every, holding_lock=True, silent=[])
        queued = still_queued(self.folder, [job for job in every if states[job.name].name == "finished"])
        idle = []
        for each in stretches:
            training, job = jobs[each.run][0], _present(jobs[each.run], states)
            ends = states[training.name].name == "finished" and self._is_ending(each, queued)
            state = states[job.name]
            if not (ends or state.name in ACTIVE or self._is_settled(each, job, state)):
                idle.append(each)
        succeeded = any(each.state in ("ended", "diverged") for each in self._journal.stretches())
        if len(self._failures) >= _HOPELESS and not succeeded and not self.mistake:
            last = self._failures[-1]
            self.mistake = f"{len(self._failures)} trials failed and none succeeded; the last: {last}"
        return idle

    def _is_driven(self, stretch: Stretch) -> bool:
        """True if another driver trains a run on its own machine."""
        return stretch.run not in self._held and folder_lock.is_held(self.folder.driver(stretch.run))

    def _is_ending(self, stretch: Stretch, queued: Collection[str]) -> bool:
        """True while the process of a stretch, or its job of a cluster, which may start again, has not ended.

        The next stretch of the run would find its folder in use.
        """
        names = {job.name for job in self._jobs_of(stretch)}
        return folder_lock.is_held(self.folder.run(stretch.run)) or not names.isdisjoint(queued)

    def _is_settled(self, stretch: Stretch, job: Job, state: JobState) -> bool:
        """Tell the journal of a stretch's end; False where it has not come to one."""
        if state.name == "finished":
            self._tell(stretch)
        elif state.name == "failed" and self._has_diverged(job, state):
            self._journal.tell_failed(stretch, "diverged", diverged=True)
            _say(f"{stretch.run} diverged ({self._words(stretch)})")
        elif stretch.run not in self._begun and (state.name == "cancelled" or self._is_mistake(job)):
            return False  # of an earlier command: it is tried again
        elif state.name == "failed" and self._is_mistake(job):
            self.mistake = f"{stretch.run} ({self._words(stretch)}): {state.detail.removeprefix('error: ')}"
        elif state.name == "failed" or (state.name in ("cancelled", "lost") and self._was_elsewhere(job)):
            self._journal.tell_failed(stretch, state.detail or state.name)
            self._failures.append(f"{stretch.run} ({self._words(stretch)}): {state.detail or state.name}")
            _say(f"failed: {self._failures[-1]}")
        else:
            return False
        return True

    def _has_diverged(self, job: Job, state: JobState) -> bool:
        """True if a training's loss, or a transfer's, was not finite."""
        if job.task:
            return "has diverged" in state.detail
        return not job.evaluation and (self.folder.run(job.run) / DIVERGED).exists()

    def _tell(self, stretch: Stretch) -> None:
        search, measure = self.search, self.search.measure
        *_, job = self._jobs_of(stretch)
        if measure is None:
            key, verb = search.metric, "logs"
            rows = read_metrics(self.folder.run(stretch.run) / "metrics.jsonl")
            found = {name: row[name] for row in rows for name in row if is_number(row[name])}
        else:
            key, verb = measure.key, "has"
            found = measured(job)
        if key not in found:
            known = [name for name in found if name not in ("step", "epoch")]
            hint = suggest(key, known, otherwise=f"it {verb} {', '.join(known) or 'nothing yet'}")
            self.mistake = f"--metric {search.metric}: {job.name} {verb} no such metric; {hint}"
            return
        last = stretch.rung == len(search.rungs) - 1
        self._journal.tell(stretch, found[key], last=last)
        stretches = self._journal.stretches()
        words = f"{search.metric} {found[key]:.4g} at epoch {search.rungs[stretch.rung]:g}"
        _say(f"{stretch.run}: {words}; best so far: {best_of(stretches, search)}")

    def _is_mistake(self, job: Job) -> bool:
        """True if a job failed by something that the user can mend, and that the next would fail by."""
        submission = read_submission(self.folder, job)
        mine = read_attempts(self.folder.attempts(job.name), submission.job_id) if submission else []
        if not mine:
            return True  # the cluster could not start it
        given_up = mine[-1].status is None and self._was_elsewhere(job)
        return mine[-1].outcome == "mistake" and not given_up

    def _was_elsewhere(self, job: Job) -> bool:
        """True if a job was submitted to a cluster that tries lost jobs again by itself."""
        submission = read_submission(self.folder, job)
        return submission is not None and submission.cluster == self.cluster.kind and self.cluster.elsewhere

    # --- what begins ----------------------------------------------------------------------------------------

    def _begin(self, idle: Sequence[Stretch], room: int) -> list[Job]:
        """Begin as many stretches as there is room for: idle ones, promoted ones, new ones."""
        if self.cluster.elsewhere:  # `room` is for all drivers' jobs there
            room -= sum(each.state == "open" for each in self._journal.stretches()) - len(idle)
        chosen = list(idle[: max(0, room)])
        while len(chosen) < room and (fresh := self._next()) is not None:
            chosen.append(fresh)
        if not chosen:
            return []
        study = as_study(self._journal.stretches(), self.search)
        write_plan(self.folder, study, self.cluster.kind, self._command)
        jobs: list[Job] = []
        for stretch in chosen:
            jobs += _missing(self._jobs_of(stretch))
            if self.cluster.in_foreground:
                self._hold(stretch.run)
            self._begun.add(stretch.run)
            _say(f"{stretch.run} trains to epoch {self.search.rungs[stretch.rung]:g}: {self._words(stretch)}")
        for job in jobs:
            submission = read_submission(self.folder, job)
            where = job.own_folder or self.folder.run(job.run)
            folder_lock.forget(where, submission.job_id if submission else "")
        self._submit(jobs)
        return jobs

    def _next(self) -> Stretch | None:
        """The next stretch, now in the journal; None where none is to begin now."""
        search = self.search
        while True:
            standing = standing_of(self._journal.stretches(), search)
            may_draw = len(standing.reached) < search.trials
            found = promoted(standing, len(search.rungs), search.reduction, may_draw)
            if found is not None:
                self._journal.promote(*found)
            elif may_draw:
                self._journal.draw()
            else:
                return None
            stretch = self._journal.stretches()[-1]
            try:
                search.config(stretch.values)
            except UserError as error:  # fields that refuse each other's values
                self._journal.tell_failed(stretch, str(error))
                _say(f"{stretch.run} is left out: {error}")
                continue
            return stretch

    def _hold(self, run: str) -> None:
        if run not in self._held:
            self.folder.driver(run).mkdir(parents=True, exist_ok=True)
            stack = ExitStack()
            stack.enter_context(folder_lock.hold(self.folder.driver(run)))
            self._held[run] = stack

    def _jobs_of(self, stretch: Stretch) -> list[Job]:
        """The job that trains a stretch, and the one that measures it then, if the training does not."""
        epoch = self.search.rungs[stretch.rung]
        at_end = epoch == self.search.rungs[-1]
        training = replace(self._job, run=stretch.run, pause_after=0 if at_end else epoch)
        measure = self.search.measure
        return [training, measure.job(training, epoch)] if measure else [training]

    def _words(self, stretch: Stretch) -> str:
        return ", ".join(f"{each.axis} {text_of(stretch.values[each.path])}" for each in self.search.space)


def _present(jobs: Sequence[Job], states: Mapping[str, JobState]) -> Job:
    """The first of a stretch's jobs that is not finished; else the last."""
    return next((job for job in jobs if states[job.name].name != "finished"), jobs[-1])


def _missing(jobs: Sequence[Job]) -> Sequence[Job]:
    """A stretch's jobs from the first on that is not done."""
    return next((jobs[place:] for place, job in enumerate(jobs) if not job.is_done()), jobs[-1:])


def _say(text: str) -> None:
    print(visible(text), file=sys.stderr, flush=True)
