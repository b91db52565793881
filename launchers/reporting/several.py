"""Several sweeps as one, and runs of no sweep, for a report that shows them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from launchers.reporting.lone_runs import is_run, read_runs
from launchers.reporting.results import Sweep, apart_by_data, read_as_planned
from pipelines.command.errors import UserError


def read_folders(folders: Sequence[Path], into: Path) -> Sweep:
    """Read sweep folders and run folders, in any mixture, as one sweep.

    Args:
        folders: of sweeps, of runs, of results on foreign weights; each once.
        into: folder that the report is written to.

    Raises:
        UserError: one is neither, or its sweep.json is damaged.
    """
    plain = [folder for folder in folders if not (folder / "sweep.json").exists()]
    lone = [folder for folder in plain if is_run(folder)]
    astray = next((folder for folder in plain if folder not in lone), None)
    if astray is not None:
        raise UserError(
            f"{astray} is no sweep folder and no run folder (no sweep.json, no config.json): give one that "
            "launchers.sweep or fastssl.train made"
        )
    sweeps = {_name(folder, folders): read_as_planned(folder) for folder in folders if folder not in lone}
    if lone:
        sweeps["runs"] = read_runs({_name(folder, lone): folder for folder in lone}, into)
    if len(sweeps) > 1:
        return _side_by_side(sweeps, into)
    (only,) = sweeps.values()
    return replace(only, folder=into, runs=apart_by_data(only.runs))


def _side_by_side(sweeps: Mapping[str, Sweep], into: Path) -> Sweep:
    """Sweeps by their names as one sweep, whose first axis they are."""
    runs = [
        replace(
            run, name=f"{name}/{run.name}", row=f"{name}: {run.row}", values={"sweep": name, **run.values}
        )
        for name, sweep in sweeps.items()
        for run in sweep.runs
    ]
    abouts = [sweep.about for sweep in sweeps.values()]
    figures = [figure for about in abouts for figure in about.get("figures", [])]
    about = {
        "study": " and ".join(dict.fromkeys(str(about["study"]) for about in abouts)),
        "title": ", ".join(sweeps),
        "about": "\n\n".join(f"{name}: {sweep.about.get('title', '')}" for name, sweep in sweeps.items()),
        "axes": list(dict.fromkeys(["sweep", *(axis for about in abouts for axis in about.get("axes", []))])),
        "figures": [figure for place, figure in enumerate(figures) if figure not in figures[:place]],
        "runs": [planned for about in abouts for planned in about["runs"]],
        "commands": [about.get("command") for about in abouts],
        "git_commit": ", ".join(dict.fromkeys(str(about.get("git_commit"))[:10] for about in abouts)),
        "scale": "tiny" if all(about.get("scale") == "tiny" for about in abouts) else "paper",
    }
    damaged = [line for sweep in sweeps.values() for line in sweep.damaged]
    folders = tuple(folder for sweep in sweeps.values() for folder in sweep.folders)
    return Sweep(into, about, apart_by_data(runs), damaged, folders)


def _name(folder: Path, folders: Sequence[Path]) -> str:
    """Name of a folder: as much of the end of its path as no other has."""
    others = [other.absolute().parts for other in folders if other.absolute() != folder.absolute()]
    parts = folder.absolute().parts
    for count in range(1, len(parts)):
        if all(other[-count:] != parts[-count:] for other in others):
            return "/".join(parts[-count:])
    return str(folder)
