"""A search with the real engine and the real training; nothing that dies on the way changes its result."""

import signal
from pathlib import Path

import pytest

from launchers.report import report
from launchers.searching.folder import SearchFolder
from launchers.sweeps.attempts import read_attempts
from tests.helpers.real_search import assert_whole, kill_a_training, run, start, table, wait_until


@pytest.mark.slow
def test_a_search_outlives_a_killed_trial_and_its_killed_driver(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path / "search")
    driver = start("--out", folder.path)
    killed = kill_a_training(folder, driver)
    wait_until(lambda: len(table(folder)) >= 4, driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    done = run("--out", folder.path)
    assert done.returncode == 0, done.stderr
    assert "best: " in done.stdout
    assert "crashed" in [attempt.outcome for attempt in read_attempts(folder.attempts(killed))]
    assert_whole(folder, tmp_path / "whole")
    page, *_ = report(folder.path)
    assert "Trials in parallel coordinates" in page.read_text()
