"""The command in real processes: killed and resumed, and several that train together."""

import os
import random
import socket
from pathlib import Path

import pytest

from tests.helpers.commands import ForkedCommand, run_command
from tests.helpers.image_folder import write_colors
from tests.helpers.runs import wait_for_steps
from tests.helpers.small_transfers import assert_same_transfer, result, rows

MODULE = "fastssl.transfer.__main__"
STEPS = 24
OPTIONS = [
    *("classification", "scratch", "--backbone", "resnet9", "--width", "0.125", "--size", "16"),
    *("--batch-size", "8", "--epoch-images", "32", "--epochs", "6", "--warmup-epochs", "1"),
    *("--threads", "1", "--workers", "1", "--log-every", "1", "--device", "cpu"),
]
DETECTION = [
    *("scenes-detection", "scratch", "--backbone", "resnet18", "--width", "0.125"),
    *("--data", "scenes:multi-1111,images=8", "--test-images", "4", "--batch-size", "4"),
    *("--short-sides", "64", "--test-short-side", "64", "--warmup-steps", "1", "--precise-bn", "1"),
    *("--threads", "1", "--workers", "1", "--log-every", "1", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, split in enumerate(("train", "test")):
        write_colors(folder / split, 10 - 5 * seed, seed=seed)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transfer that nothing interrupted."""
    out = tmp_path_factory.mktemp("transfers") / "whole"
    done = run_command(MODULE, *OPTIONS, "--data", data, "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"finished: {STEPS} steps" in done.stderr
    return out


def kill_at(step: int, out: Path, *words: str | Path) -> None:
    """Start or resume a transfer, and kill it when it has logged a step."""
    process = ForkedCommand(MODULE, *words, "--checkpoint-minutes", "0", "--out", out)
    wait_for_steps(process, out, step)
    process.kill()
    process.wait()


FIVE = pytest.param(sorted(random.Random(0).sample(range(1, STEPS), 5)), marks=pytest.mark.slow)


@pytest.mark.parametrize("steps", [[7], FIVE])
def test_killed_and_resumed_is_the_same_to_the_bit(
    whole: Path, data: Path, tmp_path: Path, steps: list[int]
) -> None:
    out = tmp_path / "run"
    for step in steps:
        kill_at(step, out, *OPTIONS, "--data", data)
        assert not (out / "eval").exists()
    done = run_command(MODULE, *OPTIONS, "--data", data, "--out", out)
    assert "resumed at step" in done.stderr, done.stderr
    assert_same_transfer(whole, out)
    assert result(out)["top1"] == result(whole)["top1"]


@pytest.mark.slow
def test_a_detector_killed_five_times_is_the_same_to_the_bit(tmp_path: Path) -> None:
    uninterrupted, out = tmp_path / "whole", tmp_path / "run"
    words = (*DETECTION, "--steps", str(STEPS))
    assert run_command(MODULE, *words, "--out", uninterrupted).returncode == 0
    for step in sorted(random.Random(1).sample(range(1, STEPS), 5)):
        kill_at(step, out, *words)
    assert run_command(MODULE, *words, "--out", out).returncode == 0
    assert_same_transfer(uninterrupted, out)
    assert result(out)["AP"] == result(uninterrupted)["AP"]


def test_two_processes_do_what_one_does(whole: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    opening = run_in_two_processes(*OPTIONS, "--data", data, "--out", out)
    assert "in 2 processes" in opening
    losses = [[row["loss"] for row in rows(each) if "loss" in row] for each in (whole, out)]
    assert len(losses[1]) == STEPS
    assert losses[1][:3] == pytest.approx(losses[0][:3], rel=1e-5)  # Adam's steps amplify the rounding
    ours, theirs = result(out), result(whole)
    assert ours["test_images"] == theirs["test_images"] == 15
    assert abs(ours["top1"] - theirs["top1"]) < 0.2  # 3 of 15 images


def test_two_processes_segment_as_one_does(tmp_path: Path) -> None:
    """Batch norms see all images of a step, and every image counts alike: all of its pixels have a class."""
    words = [
        *("scenes-segmentation", "scratch", "--backbone", "resnet18", "--width", "0.125", "--steps", "4"),
        *("--data", "scenes:multi-1111,images=8", "--test-images", "4", "--batch-size", "4"),
        *("--short-sides", "64", "--crop", "64", "64", "--test-short-side", "64", "--warmup-steps", "1"),
        *("--precise-bn", "1", "--threads", "1", "--workers", "1", "--log-every", "1", "--device", "cpu"),
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run_command(MODULE, *words, "--out", one).returncode == 0
    run_in_two_processes(*words, "--out", two)
    losses = [[row["loss"] for row in rows(each) if "loss" in row] for each in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert len(losses[0]) == 4
    assert result(two)["mIoU"] == pytest.approx(result(one)["mIoU"], abs=0.01)


@pytest.mark.slow
def test_two_processes_detect(tmp_path: Path) -> None:
    """Processes have unequal numbers of objects; all test images are measured; twice it is the same."""
    outs = tmp_path / "one", tmp_path / "two"
    for out in outs:
        run_in_two_processes(*DETECTION, "--steps", "4", "--out", out)
        assert result(out)["test_images"] == 4
    assert_same_transfer(*outs)
    assert len([row for row in rows(outs[0]) if "loss" in row]) == 4


def run_in_two_processes(*words: str | Path) -> str:
    """Run the command in two processes that train together. Returns what rank 0 wrote to stderr."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        ForkedCommand(
            MODULE,
            *words,
            environment=os.environ
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        )
        for rank in range(2)
    ]
    try:
        errors: list[str] = [process.communicate(timeout=120)[1] for process in processes]
        assert [process.wait() for process in processes] == [0, 0], errors
    finally:
        for process in processes:
            process.kill()
    return errors[0]
