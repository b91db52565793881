"""The command line of ``python -m launchers.sweep``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import tyro

from fastssl.command_line import option_names, options_ending
from fastssl.recipes import RECIPES
from launchers.cluster_options import chosen_cluster, command_words, with_clusters
from launchers.clusters import CLUSTERS
from launchers.clusters.cluster import Cluster
from launchers.site import site_words
from launchers.studies import STUDIES
from launchers.sweeps.study import Scale
from pipelines.command.errors import UserError
from pipelines.command.options import read_options
from pipelines.command.ranges import CountOrZero, FewCount, check_ranges
from pipelines.command.suggest import suggest

if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(cluster.kind for cluster in CLUSTERS)]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Runs and their cluster. Each cluster adds its own options (``parse``)."""

    study: tyro.conf.Positional[str] = ""
    """Name of a study; left out where --recipe is given."""
    recipe: str = ""
    """A free grid over this recipe, in place of a study."""
    grid: tuple[str, ...] = ()
    """FIELD=VALUE,VALUE ...: every combination. The end of a field's name will do: num_negatives=4,16."""
    zip: tuple[str, ...] = ()
    """FIELD=VALUE,VALUE ...: fields that change together, with as many values each: batch_size=256,512
    base_lr=0.03,0.06."""
    seeds: FewCount = 1
    """Every run with the seeds 0 to N - 1."""
    scale: Scale = "paper"
    """paper: as published. tiny: on the built-in scenes, minutes per run."""
    set: tuple[str, ...] = ()
    """FIELD=VALUE ...: for all runs."""
    data: str = ""
    """The images, for all runs, as --data of the training."""
    eval_data: str = ""
    """Labeled images of the evaluations, as --data of fastssl.evaluate; empty: those of the training."""
    transfer_data: tuple[str, ...] = ()
    """NAME=WHERE ...: labeled images by the names of the study's transfer evaluations: cifar100=DIR."""
    columns: tuple[str, ...] = ()
    """NAME,NAME ...: results to measure, of the study's (linear, linear@cifar100) and of dense transfers:
    voc07, voc0712, coco-c4, coco-fpn, cityscapes, or voc07-rescaled (NormRescale), voc07-searched (the rate).
    Empty: the study's."""
    no_eval: bool = False
    """Train only. The same command without it evaluates what was trained."""
    out: str = ""
    """Sweep folder; empty: sweeps/STUDY or sweeps/RECIPE-by-FIELD, and -tiny behind it at that scale."""
    only: tuple[str, ...] = ()
    """Names of runs: leave the others alone."""
    cluster: Kind = CLUSTERS[0].kind
    """Cluster that runs the jobs; see above."""
    dry_run: bool = False
    """Print the runs, the cost and what would be submitted; write and submit nothing."""
    fresh_code: bool = False
    """Take a new snapshot of the code in place of the sweep's own."""
    stage: str = ""
    """Copy the data to this folder of the node first ($TMPDIR, /dev/shm), once per node."""
    retries: CountOrZero = 2
    """Restarts of a run that crashed or was lost."""
    max_parallel: CountOrZero = 0
    """Jobs of the sweep at a time, evaluations and retries included; 0: as many as the cluster has room for,
    on this machine one per GPU."""
    on_event: str = ""
    """Command of the shell that is told of each failed job and of the sweep's end, as JSON on its standard
    input, where that happens: 'mail -s sweep me@lab.edu'."""
    site: str = ""
    """This site's defaults, OPTION = VALUE in TOML; empty: ~/.config/fastssl/site.toml, if it is there."""
    watch: bool = False
    """Stay, and submit the rest as soon as the cluster takes it, where it does not take all at once."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if bool(self.study) == bool(self.recipe):
            raise UserError(f"give a study ({', '.join(STUDIES)}), or --recipe RECIPE --grid FIELD=VALUE,...")
        if (self.grid or self.zip) and not self.recipe:
            option = "--grid" if self.grid else "--zip"
            raise UserError(
                f"{option} belongs to --recipe RECIPE: a study has its own axes; --set changes a field"
            )
        if self.study and self.study not in STUDIES:
            hint = suggest(self.study, STUDIES, form=" ({})")
            raise UserError(f"unknown study {self.study}{hint}; the studies are {', '.join(STUDIES)}")


_Command = with_clusters(Options)


def _about(name: str, text: str | None) -> str:
    """A name, and the first line of what is said of it."""
    first, _, _ = (text or "").partition("\n")
    return f"  {name:<14} {first}"


def _description() -> str:
    studies = [_about(name, study.__doc__) for name, study in STUDIES.items()]
    clusters = [_about(cluster.kind, cluster.__doc__) for cluster in CLUSTERS]
    return "\n".join(
        [
            "Run a study, or a grid over a recipe. The same command again resumes with what is missing.\n",
            "Usage: python -m launchers.sweep STUDY [options]",
            "       python -m launchers.sweep --recipe RECIPE --grid FIELD=VALUE,VALUE ... [options]\n",
            *("Studies:", *studies, "", "Clusters (--cluster):", *clusters),
        ]
    )


def parse(argv: Sequence[str]) -> tuple[Options, Cluster]:
    """The options of a command line, and the cluster that they name.

    Raises:
        UserError: an unknown option (the message names the nearest), a value of the wrong type, or values
            that do not go together.
        SystemExit: status 0, for --help.
    """
    prog = "python -m launchers.sweep"
    words = command_words(argv, site_words(argv, Options), Options, prog)
    flat = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    description = _description()
    command = read_options(_Command, prog, words, description=description, config=flat, elsewhere=of_the_runs)
    return command, chosen_cluster(command, command.cluster, command.max_parallel)


def of_the_runs(word: str, vary: str = "--grid") -> str | None:
    """Words on an option of training, which ``vary`` varies; None for any other."""
    name = word.removeprefix("--")
    if not options_ending(name, option_names(RECIPES["quickstart"]())):
        return None
    field = name.replace("-", "_")
    return f", which is the runs' own (--set {field}=VALUE for all, {vary} {field}=VALUE,VALUE to vary it)"
