"""Whole runs in real processes, for tests: how they are started, followed, and compared.

``start`` and ``run`` fork the process from a server, ``start_fresh`` and ``run_fresh`` start an interpreter,
as a user does: some 8 core-seconds more. Every kind of end (finished, killed, stopped, refused) has both.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch

from tests.helpers import ROOT
from tests.helpers.commands import ForkedCommand, Process, module_command, run_command

CLASSES = ("circle", "disc", "square")
SMALL = [
    *("quickstart", "--batch-size", "16", "--epochs", "25", "--views.0.spec.size", "16"),
    *("--backbone.width", "0.0625", "--method.loss.num-negatives", "64"),
    *("--method.projector.hidden-dim", "32", "--method.projector.out-dim", "16"),
    *("--method.predictor.hidden-dim", "32", "--method.predictor.out-dim", "16"),
    *("--threads", "1", "--workers", "2", "--log-every", "3"),
    *("--monitor-every", "10", "--checkpoint-minutes", "60"),  # and at the end of each epoch, of 7 steps
]
EVERY_FEW_STEPS = ("--checkpoint-minutes", "0.002")  # for runs that are killed; a checkpoint costs 3 steps


def write_images(folder: Path, count: int, seed: int) -> None:
    """``count`` noisy JPEGs of 24 x 24 a class."""
    generator = np.random.default_rng(seed)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)
            pixels[..., number] //= 2
            (folder / name / f"{i:03d}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels, quality=90))


def command(*options: str | Path) -> list[str]:
    return module_command("fastssl.train", *options)


def start(*options: str | Path) -> ForkedCommand:
    return ForkedCommand("fastssl.train", *options)


def start_fresh(*options: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(command(*options), cwd=ROOT, stderr=subprocess.PIPE, text=True)


def run(*options: str | Path) -> "subprocess.CompletedProcess[str]":
    return run_command("fastssl.train", *options)


def run_fresh(*options: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*options), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )


def wait_for_steps(process: Process, out: Path, steps: int) -> None:
    """Return once the run has logged ``steps`` steps, or has ended."""
    path = out / "metrics.jsonl"
    while process.poll() is None:
        text = path.read_text() if path.exists() else ""
        lines = text.rpartition("\n")[0].splitlines()  # the last one may be half written
        if lines and json.loads(lines[-1])["step"] >= steps:
            return
        time.sleep(0.02)


def weights(out: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = last_checkpoint(out)["method"]
    return state


def last_checkpoint(out: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(out / "checkpoints/last.pt", weights_only=True)
    return state


def losses(out: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def summary(out: Path) -> dict[str, object]:
    values: dict[str, object] = json.loads((out / "summary.json").read_text())
    return values


def assert_same_run(left: Path, right: Path) -> None:
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert losses(left) == losses(right)
    assert last_checkpoint(left)["scaler"] == last_checkpoint(right)["scaler"]
