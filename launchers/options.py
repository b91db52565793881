"""The command line of ``python -m launchers.sweep``."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tyro

from launchers.clusters.slurm import Resources, parse_minutes
from launchers.studies import STUDIES
from launchers.sweeps.study import Scale
from pipelines.command.errors import UserError
from pipelines.command.options import one_line_complaints

Cluster = Literal["local", "slurm", "debug"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run, and where."""

    study: tyro.conf.Positional[str] = ""
    """Name of a study; left out where --recipe is given."""
    recipe: str = ""
    """A free grid over this recipe, in place of a study."""
    grid: tuple[str, ...] = ()
    """FIELD=VALUE,VALUE ...: every combination. The end of a field's name will do: num_negatives=4,16."""
    seeds: int = 1
    """Every run with the seeds 0 to N - 1."""
    scale: Scale = "paper"
    """paper: as published. tiny: on the built-in scenes, minutes a run."""
    set: tuple[str, ...] = ()
    """FIELD=VALUE ...: for all runs."""
    data: str = ""
    """Where the images are, for all runs, as --data of the training."""
    out: str = ""
    """Sweep folder; empty: sweeps/STUDY, or sweeps/STUDY-tiny."""
    only: tuple[str, ...] = ()
    """Names of runs: leave the others alone."""
    cluster: Cluster = "local"
    """local: this machine. slurm: sbatch. debug: in this process, one by one, with the code at hand."""
    dry_run: bool = False
    """Print the runs, the cost and the sbatch text; write and submit nothing."""
    fresh_code: bool = False
    """Take a new snapshot of the code in place of the sweep's own."""
    stage: str = ""
    """Copy the data to this folder of the node first ($TMPDIR, /dev/shm), once a node."""
    retries: int = 2
    """How often a run that crashed or was lost is started again."""
    max_parallel: int = 0
    """Runs at a time; 0: local: one a GPU, slurm: all."""

    partition: str = ""
    """SLURM: see sbatch for this and the next."""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    exclude: str = ""
    """Nodes to leave out."""
    time: str = "24:00:00"
    """Time limit: minutes, HH:MM:SS or D-HH:MM:SS. A run that needs longer is requeued and goes on."""
    nodes: int = 1
    gpus_per_node: int = 1
    """One process a GPU trains; 0: one process a node, without GPU."""
    cpus_per_gpu: int = 0
    """Cores of each process."""
    mem: str = ""
    """Memory of a node: 64G."""
    setup: tuple[str, ...] = ()
    """Shell lines before the job: 'module load cuda'."""
    grace: int = 120
    """Seconds before the time limit at which SLURM asks for the checkpoint."""
    sbatch: tuple[str, ...] = ()
    """Further options of sbatch without dashes: reservation=night exclusive."""

    def __post_init__(self) -> None:
        if bool(self.study) == bool(self.recipe):
            raise UserError(f"give a study ({', '.join(STUDIES)}), or --recipe RECIPE --grid FIELD=VALUE,...")
        if self.grid and not self.recipe:
            raise UserError(
                "--grid belongs to --recipe RECIPE: a study has its own axes; --set changes a field"
            )
        if self.study and self.study not in STUDIES:
            near = difflib.get_close_matches(self.study, STUDIES, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UserError(f"unknown study {self.study}{hint}; the studies are {', '.join(STUDIES)}")
        for name, least in (("seeds", 1), ("retries", 0), ("max_parallel", 0), ("gpus_per_node", 0)):
            if getattr(self, name) < least:
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"{option} must be at least {least}, not {getattr(self, name)}")
        if self.cluster != "slurm" and (self.nodes != 1 or self.gpus_per_node > 1):
            raise UserError(
                f"--cluster {self.cluster} gives a run one GPU: take --cluster slurm, or torchrun for one run"
            )

    def resources(self) -> Resources:
        """What a training job asks of SLURM.

        Raises:
            UserError: the time limit is none, or leaves no time.
        """
        return Resources(
            minutes=parse_minutes(self.time),
            nodes=self.nodes,
            gpus_per_node=self.gpus_per_node,
            cpus_per_gpu=self.cpus_per_gpu,
            mem=self.mem,
            partition=self.partition,
            account=self.account,
            qos=self.qos,
            constraint=self.constraint,
            exclude=self.exclude,
            max_parallel=self.max_parallel,
            setup=self.setup,
            grace=self.grace,
            sbatch=dict(_sbatch_option(text) for text in self.sbatch),
        )


def _sbatch_option(text: str) -> tuple[str, str | bool]:
    name, equals, value = text.lstrip("-").partition("=")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or (equals and not value):
        raise UserError(
            f"--sbatch {text}: give sbatch's options as NAME=VALUE or NAME, such as reservation=night"
        )
    return name, value if equals else True


def evaluation_resources(training: Resources) -> Resources:
    """An evaluation is one process on one GPU."""
    return dataclasses.replace(training, nodes=1, gpus_per_node=min(1, training.gpus_per_node))


def _about(study: str) -> str:
    """A study's name, and the first line of its file."""
    first = (sys.modules[STUDIES[study].__module__].__doc__ or "").splitlines()[0]
    return f"  {study:<14} {first}"


def parse(argv: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        UserError: an unknown option (the message names the nearest), a value of the wrong type, or values
            that do not go together.
        SystemExit: status 0, for --help.
    """
    description = (
        "Run a study, or a grid over a recipe. The same command again goes on with what is missing.\n\n"
        "Usage: python -m launchers.sweep STUDY [options]\n"
        "       python -m launchers.sweep --recipe RECIPE --grid FIELD=VALUE,VALUE ... [options]\n\n"
        "Studies:\n" + "\n".join(_about(name) for name in STUDIES)
    )
    prog = "python -m launchers.sweep"
    with one_line_complaints(prog):
        options, unknown = tyro.cli(
            Options,
            prog=prog,
            description=description,
            args=list(argv),
            return_unknown_args=True,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    if unknown:
        names = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Options)]
        near = difflib.get_close_matches(unknown[0].split("=")[0], names, n=1)
        hint = f"did you mean {near[0]}?" if near else "options of sbatch itself go into --sbatch NAME=VALUE"
        raise UserError(f"unknown option {unknown[0]}: {hint}")
    return options
