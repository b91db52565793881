"""Searches whose trials are real trainings, disturbed on the way: how to watch them, and what must hold."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastssl.run.summary import read_summary
from launchers.searching.folder import SearchFolder
from tests.helpers import ROOT
from tests.helpers.runs import assert_same_run, losses

PATIENCE = 1500  # seconds: other work may share the machine
SMALL = (
    *("quickstart", "--space", "optimizer.base_lr=log:1e-2:1", "temperature=0.1,0.2"),
    *("--trials", "6", "--grace", "1", "--set", "epochs=9", "batch_size=128", "views.0.spec.size=16"),
    *("backbone.width=0.0625", "num_negatives=64", "projector.hidden_dim=32", "projector.out_dim=16"),
    *("predictor.hidden_dim=32", "predictor.out_dim=16", "threads=1", "workers=2", "log_every=5"),
    *("device=cpu", "checkpoint_minutes=0.02"),
)


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "launchers.search", *SMALL, *map(str, words)]


def start(*words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*words), cwd=ROOT, stderr=subprocess.PIPE, text=True)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def table(folder: SearchFolder) -> list[dict[str, Any]]:
    """Lines of the table; [] before there is one."""
    if not folder.search.exists():
        return []
    lines: list[dict[str, Any]] = json.loads(folder.search.read_text())["table"]
    return lines


def wait_until(what: Callable[[], object], driver: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert driver.poll() is None, driver.stderr and driver.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.1)


def kill_a_training(folder: SearchFolder, driver: subprocess.Popen[str]) -> str:
    """Kill a trial that has logged a step; returns its name."""

    def training() -> list[tuple[str, int]]:
        return [
            (path.parent.name, pid)
            for path in folder.path.glob("runs/*/metrics.jsonl")
            if path.stat().st_size
            for pid in processes(folder.config(path.parent.name))
        ]

    wait_until(training, driver)
    (name, _), *_ = found = training()
    for _, pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return name


def assert_whole(folder: SearchFolder, whole: Path) -> None:
    """Six trials, none failed, no step trained twice, and the best is an uninterrupted run of its config."""
    lines = table(folder)
    assert len(lines) == 6
    assert {line["state"] for line in lines} == {"paused", "finished"}, lines
    for line in lines:
        steps = [step for step, _ in losses(folder.run(line["trial"]))]
        assert steps == sorted(set(steps)), line["trial"]
        found = read_summary(folder.run(line["trial"]))
        assert found["epochs_done"] == line["epoch"]
        assert found["knn_top1"] == line["metric"]
    best = json.loads(folder.search.read_text())["best"]
    words = [sys.executable, "-m", "fastssl.train", str(folder.best), "--out", str(whole)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_run(folder.run(best), whole)


def processes(config: Path) -> list[int]:
    """Ids of the processes that train a config."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"fastssl.train" in words and str(config).encode() in words:
                found.append(int(path.parent.name))
    return found
