"""A search on a real SLURM: its driver is killed, and so is a trial; it is cancelled, and goes on."""

import signal
import sys
from pathlib import Path

import pytest

from launchers.searching.folder import SearchFolder
from launchers.sweeps.attempts import read_attempts
from launchers.sweeps.json_file import read_object
from tests.helpers.real_search import assert_whole, kill_a_training, run, start, table, wait_until
from tests.helpers.runs import losses, write_images
from tests.slurm.slurm_sweep import IMAGES, run_command

pytestmark = pytest.mark.slurm


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    """Folder of a search, beside its images."""
    path = tmp_path_factory.mktemp("search")
    write_images(path / "data/train", IMAGES, seed=0)
    write_images(path / "data/test", 10, seed=1)
    return SearchFolder(path / "search")


def place(folder: SearchFolder) -> tuple[str | Path, ...]:
    return ("--data", folder.path.parent / "data", "--out", folder.path, "--cluster", "slurm")


def test_a_search_on_slurm_outlives_a_killed_trial_and_its_killed_driver(
    cluster: Path, folder: SearchFolder
) -> None:
    words = (*place(folder), "--parallel", "2")
    driver = start(*words)
    try:
        killed = kill_a_training(folder, driver)
        wait_until(lambda: len(table(folder)) >= 4, driver)
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        done = run(*words)
        assert done.returncode == 0, done.stderr
    finally:
        run_command("scancel", "--user=root")
    outcomes = [attempt.outcome for attempt in read_attempts(folder.attempts(killed))]
    assert {"crashed", "lost"} & {*outcomes}
    assert outcomes[-1] == "finished"
    assert_whole(folder, folder.path.parent / "whole")


def test_a_search_by_a_task_is_cancelled_and_goes_on(cluster: Path, folder: SearchFolder) -> None:
    """A job of SLURM trains a trial and transfers it; `cancel` stops the driver and the jobs."""
    words = (
        *(*place(folder), "--trials", "2"),
        *("--metric", "classification.top1", "--eval-data", "scenes:single-1111,images=40", "--measure"),
        *("epochs=1", "epoch_images=32", "batch_size=16", "test_images=16", "threads=1", "workers=1"),
    )
    driver = start(*words)
    try:
        wait_until(lambda: [*folder.path.glob("runs/*/metrics.jsonl")], driver)
        told = run_command(sys.executable, "-m", "launchers.status", str(folder.path), "cancel")
        assert "cancelled" in told.stdout, told.stderr
        _, errors = driver.communicate(timeout=60)
        assert driver.returncode == 143, errors
        done = run(*words)
        assert done.returncode == 0, done.stderr
    finally:
        run_command("scancel", "--user=root")
    lines = table(folder)
    assert sorted(line["state"] for line in lines) == ["finished", "paused"]
    for line in lines:
        steps = [step for step, _ in losses(folder.run(line["trial"]))]
        assert steps == sorted(set(steps))
        (own,) = folder.transfer(line["trial"], f"classification+epoch={line['epoch']:g}").glob("eval/*.json")
        assert read_object(own)["top1"] == line["metric"]
