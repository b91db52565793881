"""What the cluster script says where it cannot help."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "cluster.sh"


def lacks(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/bash", SCRIPT, "lacks"],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="asks for root first")
def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    (tmp_path / "id").symlink_to(shutil.which("id") or "")
    done = lacks(tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("no slurmctld slurmd sbatch munged slurmdbd mariadbd here: apt-get install")
    assert len(done.stdout.splitlines()) == 1


def test_without_root_there_is_no_cluster(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    done = lacks(tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["real SLURM needs root (slurmd, namespaces)"]


def test_other_words_show_how_it_is_used() -> None:
    done = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cluster.sh up DIR PORT" in done.stderr
