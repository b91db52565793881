"""The command line of ``python -m launchers.search``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import tyro

from launchers.cluster_options import chosen_cluster, command_words, with_clusters
from launchers.clusters import CLUSTERS
from launchers.clusters.cluster import Cluster
from launchers.clusters.local import Local
from launchers.options import Options as SweepOptions
from launchers.options import of_the_runs
from launchers.searching.ready import READY
from launchers.site import site_words
from pipelines.command.errors import UserError
from pipelines.command.options import read_options
from pipelines.command.ranges import Count, CountFromTwo, CountOrZero, CountOrZeroOrNone, check_ranges

if TYPE_CHECKING:
    Kind = str
else:
    # a driver in the foreground has to ask for more jobs, as Local's does
    Kind = Literal[tuple(each.kind for each in CLUSTERS if issubclass(each, Local) or not each.in_foreground)]


@dataclass(frozen=True, kw_only=True)
class Options:
    """A search and its cluster. Each cluster adds its own options (``parse``)."""

    recipe: tyro.conf.Positional[str]
    """Recipe, mine.py:NAME, or a file of a config, as the training takes it."""
    space: tuple[str, ...] = ()
    """FIELD=VALUES ...: log:LOW:HIGH, lin:LOW:HIGH, int:LOW:HIGH, or choices 0.07,0.1,0.2. The end of a
    field's name will do. A name alone is a ready space: newell-deng."""
    metric: str = "knn_top1"
    """A metric of metrics.jsonl, whose last value at a rung counts; or TASK.METRIC of fastssl.transfer, or
    PROTOCOL.METRIC of fastssl.evaluate, measured at each rung: classification.top1, linear.top1."""
    measure: tuple[str, ...] = ()
    """NAME=VALUE ...: options of that task or protocol: labels=1000 epochs=20."""
    eval_data: str = ""
    """Its labeled images; empty: those of the training."""
    minimize: bool = False
    """The metric is the better the lower it is, as a loss."""
    trials: Count = 20
    """Runs to draw. The same command with more goes on with the search."""
    grace: CountOrZeroOrNone = None
    """Epochs before the first comparison; from then on the best of the trials alone go on. 0: train all to
    their end. None: as the ready space has it, else 0."""
    reduction: CountFromTwo = 3
    """One of so many trials goes on, to so many times the epochs."""
    seed: CountOrZero = 0
    """Random seed of the draws."""
    set: tuple[str, ...] = ()
    """FIELD=VALUE ...: for all trials."""
    data: str = ""
    """The images, as --data of the training."""
    out: str = ""
    """Search folder; empty: searches/RECIPE."""
    cluster: Kind = CLUSTERS[0].kind
    """Cluster that runs the trials."""
    parallel: CountOrZero = 0
    """Trials at a time; 0: one per GPU on this machine, four elsewhere."""
    stage: str = ""
    """Copy the data to this folder of the node first ($TMPDIR, /dev/shm), once per node."""
    retries: CountOrZero = 2
    """Restarts of a trial that crashed or was lost, before it counts as failed."""
    site: str = ""
    """This site's defaults, OPTION = VALUE in TOML; empty: ~/.config/fastssl/site.toml, if it is there."""

    def __post_init__(self) -> None:
        check_ranges(self)
        ready = [word for word in self.space if "=" not in word]
        for word in ready:
            if word not in READY:
                raise UserError(
                    f"--space {word}: give FIELD=VALUES, such as optimizer.base_lr=log:1e-4:1e-2, or a ready "
                    f"space: {', '.join(READY)}"
                )
        if len(ready) > 1:
            raise UserError(f"--space {' '.join(ready)}: one ready space at a time")


_Command = with_clusters(Options)


def parse(argv: Sequence[str]) -> tuple[Options, Cluster]:
    """The options of a command line, and the cluster that they name; see ``launchers.options.parse``."""
    prog = "python -m launchers.search"
    of_sweeps = {field.name for field in dataclasses.fields(SweepOptions)}
    site = site_words(argv, Options, of_sweeps)
    site = [word.replace("--grace=", "--slurm-grace=") for word in site]  # SLURM's, in seconds
    words = command_words(argv, site, Options, prog)
    flat = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    command = read_options(
        _Command,
        prog,
        words,
        description=_description(),
        config=flat,
        elsewhere=lambda word: of_the_runs(word, "--space"),
    )
    return command, chosen_cluster(command, command.cluster, command.parallel)


def _description() -> str:
    ready = [f"  {name}: {each.about}." for name, each in READY.items()]
    return "\n".join(
        [
            "Search the best values of some fields. The same command again goes on; two may share it.\n",
            "Usage: python -m launchers.search RECIPE --space FIELD=VALUES ... [options]\n",
            "Ready spaces:",
            *ready,
        ]
    )
