"""Sweep folders as launchers.sweep and its jobs leave them, made by hand for the tests of the report."""

import json
import math
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launchers.reporting.results import Sweep
from launchers.reporting.several import read_folders
from launchers.reporting.text import as_markdown, tell
from launchers.sweeps.plan import VERSION

ABOUT = """EqCo: accuracy over the number of negatives K.

Rebuilds figure 2 of "EqCo: equivalent rules for self-supervised contrastive learning" (2020).
With alpha fixed, accuracy does not fall with K; without EqCo it does.

    K         4     16    256
    linear  66.5  68.1  68.0

Compute: 18 runs of 200 epochs, 8 GPUs each.
"""
PAPER = {
    "title": "EqCo: equivalent rules for self-supervised contrastive learning (2020)",
    "place": "figure 2, SiMo, 200 epochs",
}


def write(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def planned(
    negatives: int,
    alpha: int,
    seed: int,
    number: float | None = 0.68,
    evaluations: Sequence[str] = ("knn", "linear"),
) -> dict[str, Any]:
    return {
        "name": f"k{negatives}-a{alpha}-s{seed}",
        "values": {"num_negatives": negatives, "eqco_alpha": alpha, "seed": seed},
        "row": f"K={negatives}, alpha={alpha}",
        "paper": None if number is None else {**PAPER, "results": [["linear top-1", number]]},
        "evaluations": list(evaluations),
    }


def write_sweep(folder: Path, runs: list[dict[str, Any]], **more: Any) -> Path:
    over_k = {"x": "num_negatives", "series": "eqco_alpha", "log_x": True}
    figures = [
        {"title": "Accuracy over K", "y": "linear.top1", **over_k},
        {"title": "MI bound over K", "y": "mi_bound", **over_k},
    ]
    about = {
        "version": VERSION,
        "study": "eqco-negatives",
        "scale": "paper",
        "about": ABOUT,
        "title": "EqCo: accuracy over the number of negatives K",
        "created": "2026-11-20T16:00:00+00:00",
        "git_commit": "0123456789abcdef",
        "command": ["python", "-m", "launchers.sweep", "eqco-negatives"],
        "cluster": "local",
        "axes": ["num_negatives", "eqco_alpha", "seed"],
        "figures": figures,
        "runs": runs,
    }
    write(folder / "sweep.json", about | more)
    return folder


def write_metrics(run: Path, steps: int, done: int, epochs: float, level: float, seed: int = 0) -> None:
    """A falling loss, a rising kNN, an MI bound that ends at ``level``."""
    noise, lines = random.Random(seed), []
    for step in range(1, done + 1):
        part = step / steps
        row = {"step": step, "epoch": epochs * part, "loss": 3.2 * math.exp(-2 * part) + noise.gauss(0, 0.05)}
        lines.append(row | {"mi_bound": level * part, "images_per_s": 1234.5, "data_wait": 0.03})
        if step % max(1, steps // 5) == 0:
            lines.append({"step": step, "epoch": epochs * part, "knn_top1": 0.2 + 0.4 * part})
    run.mkdir(parents=True, exist_ok=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_run(
    run: Path,
    *,
    status: str = "finished",
    done: int = 100,
    linear: float | None = None,
    knn: float | None = None,
    mi_bound: float = 2.0,
    error: str | None = None,
    seed: int = 0,
) -> None:
    """A run folder of 100 steps, 20 epochs."""
    write_metrics(run, 100, done, 20, mi_bound, seed)
    summary = {
        "status": status,
        "epochs_done": done / 5,
        "steps_done": done,
        "total_steps": 100,
        "images_per_s": 1200.0 + 10 * seed,
        "data_wait": 0.031,
        "train_seconds": 3600.0,
        "knn_top1": 0.6 if status == "finished" else None,
    }
    write(run / "summary.json", summary | ({"error": error} if error else {}))
    if knn is not None:
        write(run / "eval/knn.json", evaluation("knn", 100, top1_k20=knn + 0.01, top1_k200=knn))
    if linear is not None:
        write(run / "eval/linear.json", evaluation("linear", 100, top1=linear, train_loss=0.9))


def evaluation(protocol: str, step: int, **results: Any) -> dict[str, Any]:
    about = {"run": "runs/x", "step": step, "data": "scenes", "train_images": 4000, "test_images": 1000}
    more = {"settings": {"lr": 30.0, "seed": 0}, "cost": {"seconds": 3.0}, "fingerprints": ["0a", "0b"]}
    return {"protocol": protocol, **about, **more, **results}


def write_whole(folder: Path) -> Path:
    """Three seeds of 5 K x 2 alpha; one run failed, one is running, one waits, one lacks its evaluations."""
    noise, runs = random.Random(0), []
    for negatives in (4, 16, 64, 256, 1024):
        for alpha in (256, 65536):
            for seed in range(3):
                published = {4: 0.665, 16: 0.681, 256: 0.68}.get(negatives) if alpha == 256 else None
                runs.append(planned(negatives, alpha, seed, published))
                level = 0.64 + 0.01 * math.log2(negatives) / 2 + 0.005 * (alpha > 256) + noise.gauss(0, 0.003)
                write_run(
                    folder / "runs" / runs[-1]["name"],
                    linear=level,
                    knn=level - 0.1,
                    mi_bound=math.log(negatives),
                    seed=seed,
                )
    why = "the loss is not finite at step 40: lower --optimizer.base-lr"
    error = f"Traceback (most recent call last):\n  ...\n{why}\n"
    broken = {"k1024-a65536-s2": {"status": "failed", "done": 40, "error": error}}
    broken |= {"k1024-a65536-s1": {"status": "running", "done": 60}, "k256-a65536-s2": {}}
    for name, how in broken.items():
        for path in (folder / "runs" / name / "eval").iterdir():
            path.unlink()
        write_run(folder / "runs" / name, **how)  # type: ignore[arg-type]
    runs.append(planned(4096, 256, 0))
    return write_sweep(folder, runs)


def read_sweep(folder: Path) -> Sweep:
    return read_folders([folder], folder)


def markdown(folder: Path) -> str:
    return as_markdown(tell(read_sweep(folder)))


def table(text: str, section: str) -> list[dict[str, str]]:
    """The Markdown table of a section, a dictionary a line."""
    part = text.partition(f"# {section}\n")[2]
    assert part, f"no section {section}"
    part = re.split(r"^#", part, maxsplit=1, flags=re.M)[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [dict(zip(lines[0], [cell.strip() for cell in line], strict=False)) for line in lines[2:]]
