"""Options of a command whose jobs run on a cluster: the clusters' own beside the command's."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from launchers.clusters import CLUSTERS
from launchers.clusters.cluster import Cluster
from pipelines.command.errors import UserError
from pipelines.command.places import join_repeated

Options = TypeVar("Options")


def with_clusters(options: type[Options]) -> type[Options]:
    """The options with those of all clusters, under their own names: --partition, not --slurm.partition.

    Where the command has an option of that name too, the cluster's is called after it: --slurm-grace.
    """
    taken = {field.name for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    configs = {cluster.kind: _renamed(cluster, taken) for cluster in CLUSTERS}
    fields: list[Any] = [
        (kind, config, dataclasses.field(default_factory=config)) for kind, config in configs.items()
    ]
    return dataclasses.make_dataclass("_Command", fields, bases=(options,), frozen=True, kw_only=True)


def _renamed(cluster: type[Cluster], taken: Collection[str]) -> type[Cluster.Config]:
    """The options of a cluster, those called otherwise whose names are taken."""
    clash = [field for field in dataclasses.fields(cluster.Config) if field.name in taken]
    if not clash:
        return cluster.Config
    types = get_type_hints(cluster.Config, include_extras=True)
    names = {field.name: f"{cluster.kind}-{field.name.replace('_', '-')}" for field in clash}
    fields: list[Any] = [
        (
            field.name,
            Annotated[types[field.name], tyro.conf.arg(name=names[field.name])],
            dataclasses.field(default=field.default),
        )
        for field in clash
    ]
    bases = (cluster.Config,)
    return dataclasses.make_dataclass("Config", fields, bases=bases, frozen=True, kw_only=True)


def command_words(argv: Sequence[str], defaults: Sequence[str], options: type, prog: str) -> list[str]:
    """A command line with defaults before its first option, where no list of theirs takes a word behind it.

    All values of a list option stand behind its first mention: repeated, they add up.
    """
    argv = join_repeated(argv)
    count = next((index for index, word in enumerate(argv) if word.startswith("-")), len(argv))
    owners = (options, *(cluster.Config for cluster in CLUSTERS))
    fields = [field for owner in owners for field in dataclasses.fields(owner)]
    lists = {f"--{field.name.replace('_', '-')}" for field in fields if field.default == ()}
    words: list[str] = []
    values: dict[str, list[str]] = {}
    current = words
    for word in (*argv[:count], *defaults, *argv[count:]):
        option, equals, value = word.partition("=")
        name = option.replace("_", "-")
        if name in lists:
            if name not in values:
                values[name] = []
                words.append(name)
            current = values[name]
            current += [value] if equals else []
        else:
            current = words if word.startswith("--") else current
            current.append(word)
    for name, given in values.items():
        if not given:
            raise UserError(f"{name} needs one value or several: {prog} --help tells more")
    return [each for word in words for each in (word, *values.get(word, ()))]


def chosen_cluster(command: Any, kind: str, max_parallel: int) -> Cluster:
    """The cluster of a kind, with its own options of a command (``with_clusters``).

    Raises:
        UserError: another one's options ask for a run in several processes, and this one gives it one.
    """
    clusters = {each.kind: each(getattr(command, each.kind), max_parallel=max_parallel) for each in CLUSTERS}
    chosen = clusters[kind]
    for other in clusters.values():
        asked = other.config != other.Config() and other.resources().processes > 1
        if asked and chosen.resources().processes == 1:
            raise UserError(
                f"--cluster {chosen.kind} gives a run one GPU: take --cluster {other.kind}, "
                "or torchrun for one run"
            )
    return chosen
