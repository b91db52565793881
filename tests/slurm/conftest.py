"""A real SLURM cluster for the tests of this folder, started once per session."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "cluster.sh"
PORTS = 7  # that a cluster takes


def free_ports() -> int:
    """The first of ``PORTS`` ports that nobody listens on: clusters may stand side by side."""
    for first in range(31800, 32800, 20):
        with socket.socket() as probe:
            try:
                for port in range(first, first + PORTS):
                    with socket.socket() as probe:
                        probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports for a cluster")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """The folder of a cluster that is up. The tests are skipped where it cannot be had."""
    lack = subprocess.run([SCRIPT, "lacks"], capture_output=True, text=True, check=False)
    if lack.returncode:
        pytest.skip(f"no SLURM: {lack.stdout.strip()}")
    port = free_ports()
    folder = Path(f"/tmp/fastssl-slurm-{port}")  # not pytest's: munge wants a path that everybody may enter
    started = subprocess.run([SCRIPT, "up", folder, str(port)], capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    os.environ["SLURM_CONF"] = str(folder / "etc/slurm.conf")
    yield folder
    subprocess.run([SCRIPT, "down", folder], check=True)
    del os.environ["SLURM_CONF"]
    shutil.rmtree(folder)
