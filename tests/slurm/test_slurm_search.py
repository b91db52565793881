"""A search on a real SLURM: its driver is killed, and so is a trial."""

import signal
from pathlib import Path

import pytest

from launchers.searching.folder import SearchFolder
from launchers.sweeps.attempts import read_attempts
from tests.helpers.real_search import assert_whole, kill_a_training, run, start, table, wait_until
from tests.slurm.slurm_sweep import run_command, write_images

pytestmark = pytest.mark.slurm


def test_a_search_on_slurm_outlives_a_killed_trial_and_its_killed_driver(
    cluster: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("search")
    write_images(tmp_path / "data/train")
    write_images(tmp_path / "data/test", 10, seed=1)
    folder = SearchFolder(tmp_path / "search")
    words = ("--data", tmp_path / "data", "--out", folder.path, "--cluster", "slurm", "--parallel", "2")
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
    assert_whole(folder, tmp_path / "whole")
