"""Whole runs in real processes: started, killed at random moments, stopped, started twice, gone on."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastssl.run.folder import LAST
from tests.helpers.commands import ForkedCommand
from tests.helpers.runs import (
    EVERY_FEW_STEPS,
    SMALL,
    assert_same_run,
    losses,
    run,
    run_fresh,
    start,
    start_fresh,
    summary,
    wait_for_steps,
    write_images,
)

Start = Callable[..., "subprocess.Popen[str] | ForkedCommand"]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = run_fresh(*SMALL, "--data", data, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def short(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, as if it were unfinished."""
    out = tmp_path_factory.mktemp("runs") / "short"
    done = run(*SMALL, "--data", data, "--epochs", "1", "--out", out)
    assert done.returncode == 0, done.stderr
    (out / "summary.json").unlink()
    return out


def test_a_run_leaves_what_the_house_reads(whole: Path) -> None:
    found = summary(whole)
    assert found["status"] == "finished"
    assert found["steps_done"] == 7 * 25  # 120 images make 7 full batches of 16
    assert found["epochs_done"] == 25
    for key in ("images_per_s", "data_wait", "knn_top1", "knn_top1_untrained", "knn_top1_pixels"):
        assert isinstance(found[key], float), key
    files = ("config.json", "metrics.jsonl", "views.png", "curves.png", "checkpoints/last.pt", "tb")
    for name in (*files, "encoder.safetensors", "encoder.json"):
        assert (whole / name).exists(), name
    assert [step for step, _ in losses(whole)] == [*range(3, 175, 3), 175]


def test_a_finished_run_is_left_alone(whole: Path, data: Path) -> None:
    before = (whole / "checkpoints/last.pt").stat().st_mtime_ns
    done = run(*SMALL, "--data", data, "--out", whole)
    assert done.returncode == 0
    assert "finished" in done.stdout
    assert (whole / "checkpoints/last.pt").stat().st_mtime_ns == before


def test_another_config_is_refused_and_named(whole: Path, data: Path) -> None:
    done = run_fresh(*SMALL, "--data", data, "--out", whole, "--optimizer.base-lr", "0.5", "--seed", "3")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "optimizer.base_lr" in done.stderr
    assert "seed" in done.stderr


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_sigkill_at_random_moments_changes_nothing(
    whole: Path, data: Path, tmp_path: Path, seed: int
) -> None:
    moments = random.Random(seed)
    out = tmp_path / "run"
    progress = 0
    words: list[str | Path] = [*SMALL, *EVERY_FEW_STEPS, "--data", data, "--out", out]
    for number in range(3):
        process: subprocess.Popen[str] | ForkedCommand = start(*words) if number else start_fresh(*words)
        progress += moments.randrange(1, 45)
        wait_for_steps(process, out, progress)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run ended before it was killed: make it longer"
    done = run(*SMALL, "--data", data, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stderr
    assert_same_run(out, whole)


@pytest.mark.parametrize(
    ("number", "status", "begin"), [(signal.SIGTERM, 143, start), (signal.SIGINT, 130, start_fresh)]
)
def test_a_signal_checkpoints_and_exits(
    whole: Path, data: Path, tmp_path: Path, number: signal.Signals, status: int, begin: Start
) -> None:
    out = tmp_path / "run"
    process = begin(*SMALL, "--data", data, "--out", out)
    wait_for_steps(process, out, 40)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    found = summary(out)
    assert found["status"] == "interrupted"
    steps = found["steps_done"]
    assert isinstance(steps, int)
    assert 40 <= steps < 175
    # machine settings may differ from one start to the next: they do not decide the result
    assert run(*SMALL, "--data", data, "--out", out, "--workers", "1", "--prefetch", "1").returncode == 0
    assert_same_run(out, whole)


def test_a_run_that_pauses_twice_is_the_run_that_never_did(whole: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    paused = run(*SMALL, "--data", data, "--out", out, "--pause-after", "8")
    assert paused.returncode == 0, paused.stderr
    assert "paused at step 56 of 175" in paused.stderr
    assert summary(out)["status"] == "paused"
    assert summary(out)["steps_done"] == 8 * 7
    assert run(*SMALL, "--data", data, "--out", out, "--pause-after", "8").returncode == 0  # nothing to do
    assert summary(out)["steps_done"] == 8 * 7
    assert run(*SMALL, "--data", data, "--out", out, "--pause-after", "8.5").returncode == 0
    assert summary(out)["steps_done"] == 60  # 8.5 epochs of 7 steps, to the even step
    assert run(out).returncode == 0  # the folder's own config knows no pause
    assert summary(out)["status"] == "finished"
    assert_same_run(out, whole)


def test_a_second_start_is_refused_while_one_runs(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(*SMALL, "--data", data, "--out", out, "--epochs", "100000")
    try:
        wait_for_steps(process, out, 3)
        second = run(*SMALL, "--data", data, "--out", out, "--epochs", "100000")
        assert second.returncode == 2
        assert second.stderr.startswith("error: another process is working in")
        assert len(second.stderr.splitlines()) == 1
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_a_full_disk_keeps_the_last_checkpoint(data: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        out = disk / "run"
        process = start(*SMALL, *EVERY_FEW_STEPS, "--data", data, "--out", out, "--epochs", "100000")
        wait_for_steps(process, out, 30)
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "ballast").write_bytes(bytes(max(0, free - 8192)))
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2, errors
        assert "Traceback" not in errors
        last = errors.splitlines()[-1]
        assert last.startswith("error: ")
        assert "No space left" in last or "disk is full" in last
        assert "intact" in last
        step = torch.load(out / "checkpoints/last.pt", weights_only=True)["step"]
        assert step >= 1
        (disk / "ballast").unlink()
        again = start(*SMALL, "--data", data, "--out", out, "--epochs", "100000")
        wait_for_steps(again, out, step + 6)
        assert again.poll() is None
        again.kill()
        again.communicate()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_gradients_accumulated_in_fp16_go_on_exactly(data: Path, tmp_path: Path) -> None:
    setting = ("--accumulation-steps", "2", "--precision", "fp16")
    options: list[str | Path] = [*SMALL, "--data", data, *setting, "--epochs", "8"]
    assert run(*options, "--out", tmp_path / "whole").returncode == 0
    process = start(*options, "--out", tmp_path / "cut")
    wait_for_steps(process, tmp_path / "cut", 18)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert run(*options, "--out", tmp_path / "cut").returncode == 0
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_undecodable_images_are_replaced_and_named(tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "train", 20, seed=0)
    truncated = tmp_path / "data/train/disc/003.jpg"
    truncated.write_bytes(truncated.read_bytes()[:200])
    (tmp_path / "data/train/disc/007.jpg").write_bytes(b"this is no image")
    options: list[str | Path] = [*SMALL, "--data", tmp_path / "data", "--epochs", "2", "--log-every", "1"]
    done = run(*options, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    names = (tmp_path / "run/bad_images.txt").read_text()
    assert "003.jpg" in names
    assert "007.jpg" in names
    assert summary(tmp_path / "run")["bad_images"] == 2
    strict = run(*options, "--out", tmp_path / "strict", "--max-bad-images", "1")
    assert strict.returncode == 2
    assert "bad_images.txt" in strict.stderr.splitlines()[-1]
    assert summary(tmp_path / "strict")["status"] == "failed"


def test_another_runs_checkpoint_is_refused(whole: Path, short: Path, data: Path, tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    words = [*SMALL, "--data", str(data), "--epochs", "1"]
    assert run(*words, "--out", other, "--seed", "3").returncode == 0
    shutil.copytree(short, ours)
    for checkpoint, reasons in (
        (other / LAST, ("another run", "seed (3 became 0)")),
        (whole / LAST, ("epochs",)),
    ):
        (ours / LAST).write_bytes(checkpoint.read_bytes())
        refused = run(*words, "--out", ours)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
        assert all(reason in refused.stderr for reason in reasons)
