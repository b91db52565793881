"""Results as Markdown tables, for the README, and those of ``benchmarks.loader`` as a bar chart.

Without names of files it takes all of ``benchmarks/results/*.json``. What it prints and draws depends on the
files alone.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.result import Result, check_places, read_result
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.files.atomic import atomic_file

RESULTS = Path(__file__).parent / "results"
_OWN_COLOR, _OTHER_COLOR = "#1f6fb4", "#b9b9b9"

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the report."""

    results: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Results; left out: all in benchmarks/results."""
    chart: Path | None = None
    """File for the chart; left out: loader.png in benchmarks/results."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables and draw the chart."""
    prog = "python -m benchmarks.report"
    options = read_options(Options, prog, argv, description=__doc__)
    place = options.chart or RESULTS / "loader.png"
    check_places(place)
    paths = options.results or sorted(RESULTS.glob("*.json"))
    if not paths:
        raise UserError(
            f"no results in {RESULTS}: run python -m benchmarks.loader --json FILE, or name files"
        )
    results = [read_result(path) for path in paths]
    print("\n\n".join(map(markdown, results)))
    loaders = [result for result in results if _piece(result) == "loader" and not _on_gpu(result)]
    if loaders:
        with atomic_file(place) as file:
            file.write(chart(loaders))
        print(f"chart: {place}", file=sys.stderr)
    return 0


def markdown(result: Result) -> str:
    """A result as a Markdown table, with a line before it that says how it was measured."""
    piece, rows = _piece(result), result["rows"]
    commit = re.sub(r"(?<=^\w{10})\w+", "", result["commit"] or "unknown")  # "-dirty" stays
    contents, table = _TABLES[piece]
    return f"`{result['command']}` ({result['machine']}; commit {commit}), {contents}:\n\n{table(rows)}"


def chart(results: Sequence[Result]) -> bytes:
    """A PNG: a row of panels per result, a panel per number of views, a bar per contender."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and only needed here
    from matplotlib.figure import Figure

    views = sorted({row["views"] for result in results for row in result["rows"]})
    figure = Figure(figsize=(3.1 * len(views) + 0.8, 2.9 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(results), len(views), squeeze=False, sharey="row")
    for result, of_result in zip(results, panels, strict=True):
        rows = [row for row in result["rows"] if not _is_backend(row)]
        bars, first = list(dict.fromkeys(map(_label, rows))), min(row["views"] for row in rows)
        for number, axes in zip(views, of_result, strict=True):
            costs = {_label(row): row["core_us_per_image"] for row in rows if row["views"] == number}
            axes.set_visible(bool(costs))
            axes.tick_params(labelleft=number == first)
            colors = [_OWN_COLOR if bar.startswith("fastssl") else _OTHER_COLOR for bar in bars]
            drawn = axes.barh(bars, [costs.get(bar, 0) for bar in bars], color=colors)
            axes.bar_label(drawn, [f"{costs[bar]:,.0f}" if bar in costs else "" for bar in bars], padding=3)
            axes.set_xlim(0, 1.3 * max(costs.values(), default=1))
            axes.set_xticks([])
            axes.set_title(f"{_data(result)}, K = {number}", fontsize=10)
            axes.spines[["top", "right", "bottom"]].set_visible(False)
        of_result[0].invert_yaxis()  # shared by the row
    figure.supxlabel("core-microseconds per image, less is better; each panel has its own scale", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _loaders(rows: Sequence[Row]) -> str:
    costs = _decoders(rows)
    if not any(row["threads"] > 1 or _is_backend(row) for row in rows):
        return costs
    rates = _by_views(rows, lambda row: f"{row['images_per_s']:,.0f}")
    return f"{costs}\n\nImages per second:\n\n{rates}"


def _decoders(rows: Sequence[Row]) -> str:
    return _by_views(rows, lambda row: _times_own(row, rows))


def _by_views(rows: Sequence[Row], cell: Callable[[Row], str]) -> str:
    """A line for each contender and output, a column for each number of views, and memory at the last."""
    views = sorted({row["views"] for row in rows})
    lines = [["contender", "output", *(f"K = {number}" for number in views), f"peak MB, K = {views[-1]}"]]
    for (contender, output), found in _lines(rows, ("contender", "output"), "views").items():
        cells = [cell(found[number]) if number in found else "" for number in views]
        memory = f"{found[views[-1]]['peak_mb']:,.0f}" if views[-1] in found else ""
        device = " on a GPU" if any(row.get("device") == "cuda" for row in found.values()) else ""
        lines.append([contender, output + device, *cells, memory])
    return _table(lines)


def _speedups(rows: Sequence[Row]) -> str:
    numbers = sorted({row["threads"] for row in rows})
    columns = ["1 thread" if number == 1 else f"{number} threads" for number in numbers]
    lines = [["contender", "output", *columns]]
    for (contender, output), found in _lines(rows, ("contender", "output"), "threads").items():
        rates = {number: row["images_per_s"] for number, row in found.items()}
        cells = [f"{rates[number]:,.0f} ({rates[number] / rates[numbers[0]]:.2f})" for number in numbers]
        lines.append([contender, output, *cells])
    return _table(lines)


def _renderers(rows: Sequence[Row]) -> str:
    lines = [["renderer", "device", "views", "views per second", "core-us", "GPU-us"]]
    for row in rows:
        gpu_us = row["gpu_us_per_view"]
        gpu = "" if gpu_us is None else f"{gpu_us:,.2f} ({row['share_of_bound']:.1%})"
        shape = f"{row['images']} x {row['views']}, {row['dtype']}"
        costs = [f"{row['views_per_s']:,.0f}", f"{row['core_us_per_view']:,.1f}", gpu]
        lines.append([row["contender"], row["device"], shape, *costs])
    parts = [_table(lines)]
    bound = next((row for row in rows if row["share_of_bound"] is not None), None)
    if bound is not None:
        moved, rate = bound["bytes_per_view"] / 1e6, bound["copied_gb_per_s"]
        parts.append(f"The byte bound: {moved:.2f} MB per view; the GPU copies at {rate:,.0f} GB/s.")
    for row in rows:
        if row.get("leaves_out"):  # older results do not say
            parts.append(f"Left out by {row['contender']}: {', '.join(row['leaves_out'])}.")
    return "\n\n".join(parts)


def _optimizers(rows: Sequence[Row]) -> str:
    lines = [["optimizer", "implementation", "device", "us", "with a teacher, us", "kernels", "waits"]]
    for (optimizer, name), found in _lines(rows, ("optimizer", "contender"), "average").items():
        costs, counts = [], []
        for row in (found.get(False), found.get(True)):
            share = "" if row is None or row["share_of_bound"] is None else f" ({row['share_of_bound']:.0%})"
            costs.append("" if row is None else f"{row['us_per_step']:,.0f}{share}")
        for count in ("kernels", "waits"):
            values = [row[count] for _, row in sorted(found.items()) if row[count] is not None]
            counts.append(", ".join(map(str, values)))
        lines.append([optimizer, name, rows[0]["device"], *costs, *counts])
    numel, rate = rows[0]["parameters"] / 1e6, rows[0]["copied_gb_per_s"]
    bound = "" if rate is None else f"; the GPU copies at {rate:,.0f} GB/s"
    return f"{_table(lines)}\n\n{numel:.1f} million parameters{bound}."


def _training_steps(rows: Sequence[Row]) -> str:
    lines = [["recipe", "contender", "device", "precision", "images", "ms per step", "images per second"]]
    for row in rows:
        what = [row["recipe"], row["contender"], row["device"], row["precision"], f"{row['images']}"]
        share = f"{row['ms_per_step']:,.2f} ({row['share_of_bound']:.1%})"
        lines.append([*what, share, f"{row['images_per_s']:,.0f}"])
    own = [row for row in rows if row["contender"] == "fastssl"]
    moved = "; ".join(f"{row['recipe']} {row['gb_per_step']:.2f} GB per step" for row in own)
    rate = rows[0]["copied_gb_per_s"]
    return f"{_table(lines)}\n\nThe byte bound: {moved}; the device copies at {rate:,.0f} GB/s."


def _openings(rows: Sequence[Row]) -> str:
    lines = [["kind", "images", "cache", "core-s", "MB above the imports", "core-us per image read"]]
    for row in rows:
        costs = f"{row['core_s']:.2f}", f"{row['peak_mb']:,.0f}", f"{row['core_us_per_image']:,.0f}"
        lines.append([row["kind"], f"{row['files']:,}", row["cache"], *costs])
    return _table(lines)


def _trainings(rows: Sequence[Row]) -> str:
    lines = [["recipe", "contender", "device", "precision", "images per second", "core-ms per image"]]
    own = {row["recipe"]: row for row in rows if row["contender"] == "fastssl"}
    for row in rows:
        what = [row["recipe"], row["contender"], row["device"], row["precision"]]
        cost, ours = row["core_ms_per_image"], own[row["recipe"]]["core_ms_per_image"]
        times = "" if row["contender"] == "fastssl" else f" ({cost / ours:.2f})"
        lines.append([*what, f"{row['images_per_s']:,.0f}", f"{cost:,.2f}{times}"])
    return _table(lines)


def _steps(rows: Sequence[Row]) -> str:
    return _table([["step", "core-us"], *([row["step"], f"{row['core_us_per_view']:.1f}"] for row in rows)])


def _settings(rows: Sequence[Row]) -> str:
    lines = [[row["kernels"], row["setting"], f"{row['us']:,.2f}"] for row in rows]
    return _table([["kernels", "setting", "GPU-us"], *lines])


def _batch_norms(rows: Sequence[Row]) -> str:
    works = list(dict.fromkeys(row["work"] for row in rows))
    names = ("channels", "size", "contender", "setting")
    lines = [[*names, *(f"{work}, us" for work in works)]]
    for key, found in _lines(rows, names, "work").items():
        costs = [
            f"{found[work]['us']:,.1f} ({found[work]['share_of_bound']:.0%})" if work in found else ""
            for work in works
        ]
        lines.append([*map(str, key), *costs])
    images, rate = rows[0]["images"], rows[0]["copied_gb_per_s"]
    return f"{_table(lines)}\n\n{images} images, bfloat16; the GPU copies at {rate:,.0f} GB/s."


def _scenes(rows: Sequence[Row]) -> str:
    return _table(
        [["images", "core-us"], *([row["images"], f"{row['core_us_per_image']:,.0f}"] for row in rows)]
    )


def _lines(rows: Sequence[Row], names: Sequence[str], across: str) -> dict[tuple[Any, ...], dict[Any, Row]]:
    """The rows of each line of a table, by their values of ``across``; lines by their values of ``names``."""
    found: dict[tuple[Any, ...], dict[Any, Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), {})[row[across]] = row
    return found


def _table(lines: list[list[str]]) -> str:
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _times_own(row: Row, rows: Sequence[Row]) -> str:
    """The cost, and of others how many times fastssl's with the same output and views it is."""
    cost = f"{row['core_us_per_image']:,.0f}"
    if row["contender"] == "fastssl":
        return cost
    same = ("output", "views", "threads")
    for own in rows:
        if own["contender"] == "fastssl" and all(own[name] == row[name] for name in same):
            return f"{cost} ({row['core_us_per_image'] / own['core_us_per_image']:.1f})"
    return cost


def _share(row: Row) -> str:
    cost = f"{row['core_us_per_image']:,.0f}"
    return f"{cost} ({row['share_of_bound']:.0%})" if "share_of_bound" in row else cost


def _on_gpu(result: Result) -> bool:
    return any(row.get("device") == "cuda" for row in result["rows"])


def _is_backend(row: Row) -> bool:
    return row["contender"] == "backend"


def _piece(result: Result) -> str:
    """The benchmark that made a result."""
    return result["command"].split()[2].removeprefix("benchmarks.")


def _data(result: Result) -> str:
    """The last part of what --data named, and the threads where there are more than one."""
    found = re.search(r"--data[ =](\S+)", result["command"])
    threads = max(row["threads"] for row in result["rows"])
    return (Path(found[1]).name if found else "") + (f", {threads} threads" if threads > 1 else "")


def _label(row: Row) -> str:
    output = "" if row["output"] == "views" else f" ({row['output']})"
    return row["contender"] + output


_TABLES: dict[str, tuple[str, Callable[[Sequence[Row]], str]]] = {
    "batch_norm": ("a batch norm's microseconds; in brackets: share of the byte bound", _batch_norms),
    "loader": ("core-us per image of K views; in brackets: times fastssl's", _loaders),
    "decode": ("core-us per image; in brackets: times fastssl's", _decoders),
    "limits": (
        "core-us per image of K views; in brackets: share of the decode-only bound",
        lambda rows: _by_views(rows, _share),
    ),
    "optimizer": ("an optimizer's microseconds per step; in brackets: share of the byte bound", _optimizers),
    "render": ("core-us per view", _steps),
    "scenes": ("core-us per image of the built-in ones", _scenes),
    "threads": ("images per second; in brackets: times those of the fewest threads", _speedups),
    "start": ("opening many images, and reading some", _openings),
    "tune": ("kernels with other sizes: microseconds per view and per step of LARS", _settings),
    "training": ("training with its images; in brackets: times fastssl's", _trainings),
    "step": ("training steps; in brackets: share of the byte bound", _training_steps),
    "views": ("a renderer's microseconds per view; in brackets: share of the byte bound", _renderers),
}
"""What a benchmark's table shows, and its function, by the benchmark."""


if __name__ == "__main__":
    run_command(main)
