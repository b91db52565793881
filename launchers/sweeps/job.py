"""A job, the same on every cluster: one command for one run, from the sweep's own code.

A job trains a run, measures a trained one, or transfers its encoder to a task. The command runs in the
snapshot's folder, so that ``import fastssl`` is what was submitted. It survives because training and transfer
resume where their run folders stand; this file decides what becomes of a job whose process ended:

    exit 0                            finished
    exit 2, a user's mistake          failed, not tried again
    exit 143 or 130, a clean stop     interrupted: requeued by a cluster, or by the next command
    anything else                     crashed: tried again, ``retries`` times
    no word (node lost, job killed)   lost: tried again as long as the run gets further
"""

from __future__ import annotations

import glob
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from fastssl.evaluate.result_name import ResultName, data_name
from fastssl.run.summary import summary_if_whole
from launchers.sweeps.attempts import IDLE_INTERRUPTIONS, read_attempts, why_not_again
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.json_file import object_if_whole
from launchers.sweeps.stage import staged


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run's training, one of its evaluations, or a transfer of its encoder, which counts as one.

    Attributes:
        sweep: the sweep folder, absolute.
        run: name of the run.
        data: as --data of the training.
        eval_data: labeled images of the evaluation; "": those of the training.
        evaluation: "" trains; else the name of the result: ``linear``, ``linear-epoch-0050`` (a kept
            checkpoint), ``linear@cifar100`` (other images, by a name; ``eval_data`` has them),
            ``longtail+encoder=tuned`` (an option).
        task: command line of a transfer, ``("classification", "--labels", "250")``; empty otherwise.
        trained: False: the run is none that is trained; its transfers start from fresh weights.
        anchor: run of the sweep whose weights' norms a transfer takes; "": none. It is to be trained first.
        stage: folder on the node to which the data is copied first; "" leaves it where it is.
        retries: restarts of a job that crashed or was lost.
        device: as --device of the training and the evaluation; "": the config's choice.
        on_event: command of the shell that events are told to (``launchers.sweeps.events``); "": none.
        pause_after: epoch at which the training pauses; 0: it is trained to its end.
    """

    sweep: Path
    run: str
    data: str
    evaluation: str = ""
    stage: str = ""
    retries: int = 2
    eval_data: str = ""
    device: str = ""
    on_event: str = ""
    pause_after: float = 0
    task: tuple[str, ...] = ()
    trained: bool = True
    anchor: str = ""

    @property
    def name(self) -> str:
        """RUN, or RUN.EVALUATION."""
        return f"{self.run}.{self.evaluation}" if self.evaluation else self.run

    @property
    def folder(self) -> SweepFolder:
        """Folder of its sweep."""
        return SweepFolder(self.sweep)

    def training(self) -> Job:
        """The job that trains its run."""
        return replace(self, evaluation="", task=(), anchor="")

    @property
    def own_folder(self) -> Path | None:
        """The run folder that it fills: the run's, or a transfer's; None of an evaluation."""
        if self.task:
            return self.folder.transfer(self.run, self.evaluation)
        return None if self.evaluation else self.folder.run(self.run)

    def arguments(self) -> tuple[str, list[str]]:
        """The module to run, and its arguments. Copies the data to the node first, where that is asked for.

        Raises:
            UserError: the data cannot be staged.
        """
        data = self.eval_data if self.evaluation and self.eval_data else self.data
        options = ["--data", staged(data, self.stage), *(["--device", self.device] if self.device else [])]
        run = self.folder.run(self.run)
        if not self.evaluation:
            config = str(self.folder.config(self.run))
            options += ["--pause-after", f"{self.pause_after:g}"] if self.pause_after else []
            return "fastssl.train", [config, "--out", str(run), *options]
        result = ResultName.parse(self.evaluation)
        where = run / "checkpoints" / f"{result.checkpoint}.pt" if result.checkpoint else run
        if self.task:
            name, *words = self.task
            out = str(self.own_folder)
            config = str(self.folder.config(self.run))
            encoder = [str(where)] if self.trained else ["scratch", "--like", config]
            if self.anchor:
                options += ["--norm-rescale", str(self.folder.run(self.anchor))]
            return "fastssl.transfer", [name, *encoder, *words, "--out", out, *options]
        own = [f"--{option.replace('_', '-')}" for option in result.options.split("+") if option]
        return "fastssl.evaluate", [result.protocol, str(where), *own, *options]

    def command(self) -> list[str]:
        """The command line; see ``arguments``."""
        module, arguments = self.arguments()
        return [sys.executable, "-m", module, *arguments]

    def is_done(self) -> bool:
        """True if its result is there."""
        if self.evaluation:
            found = self.result()
            return found is not None and not self._is_outdated(found)
        if not self.trained:
            return True
        if self.pause_after and self.is_paused():
            paused_at = summary_if_whole(self.folder.run(self.run)).get("pause_after")
            return isinstance(paused_at, int | float) and paused_at >= self.pause_after
        return summary_if_whole(self.folder.run(self.run)).get("status") == "finished"

    def is_paused(self) -> bool:
        """True if its run stopped at the epoch that it was told to, short of its end."""
        return not self.evaluation and summary_if_whole(self.folder.run(self.run)).get("status") == "paused"

    def result(self) -> Path | None:
        """File of the evaluation's result; None before there is one.

        A transfer's lies in its own folder. In an evaluation's name the images follow where they are not the
        training's own: ``linear@stl10-1a2b3c4d.json``.
        """
        if self.task and self.own_folder:
            return next(iter(sorted((self.own_folder / "eval").glob("*.json"))), None)
        own = str(replace(ResultName.parse(self.evaluation), data=""))
        path = self.folder.evaluation(self.run, own)
        if path.exists() and not self.eval_data:
            return path
        where = self.eval_data or self.data
        name = data_name(where, []).rpartition("-")[0]
        pattern = f"{glob.escape(own)}@{name}-????????.json"
        others = sorted(path.parent.glob(pattern)) if where else []
        if others:
            return others[0]
        own_images = str(object_if_whole(path).get("data_name", "")).rpartition("-")[0]
        return path if path.exists() and own_images == name else None

    def _is_outdated(self, result: Path) -> bool:
        """True if an evaluation of a run's last weights is of earlier ones: it has trained on since."""
        if self.task or ResultName.parse(self.evaluation).checkpoint:
            return False
        step = object_if_whole(result).get("step")
        return isinstance(step, int) and step < self.training().steps_done()

    def steps_done(self) -> int:
        """Steps in the last checkpoint of the run's training, or of the transfer's."""
        steps = summary_if_whole(self.own_folder or self.folder.run(self.run)).get("steps_done")
        return steps if isinstance(steps, int) else 0

    def why_not_again(self, job_id: str) -> str | None:
        """See ``launchers.sweeps.attempts.why_not_again``."""
        attempts = read_attempts(self.folder.attempts(self.name))
        interruptions = max(self.retries, IDLE_INTERRUPTIONS) if self.own_folder else self.retries
        return why_not_again(attempts, job_id, self.steps_done(), self.retries, interruptions)
