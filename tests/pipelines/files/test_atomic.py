"""Files written aside: whole or absent, no link followed, nothing left by those that were killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.files.atomic import atomic_file, folder_aside, remove_leftovers, write_atomically
from tests.helpers import ROOT

WRITES = """
import sys, time
from pathlib import Path
from pipelines.files.atomic import atomic_file, folder_aside
with (folder_aside if sys.argv[2] == "folder" else atomic_file)(Path(sys.argv[1])) as aside:
    if sys.argv[2] == "folder":
        (aside / "half").write_bytes(b"half")
    else:
        aside.write(b"half")
        aside.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def writer(path: Path, kind: str) -> "subprocess.Popen[str]":
    """A process that is in the middle of writing ``path``."""
    words = [sys.executable, "-c", WRITES, str(path), kind]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_leftovers_of_the_killed_go_and_those_of_the_living_stay(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "target[1].json"
    other = tmp_path / ".target[1].json.elsewhere-12.part"  # of a machine that nobody can ask from here
    other.write_text("half")
    with writer(path, kind) as process:
        (aside,) = {*tmp_path.glob(".*.part")} - {other}
        remove_leftovers(path)
        assert aside.exists()
        write_atomically(path, b"whole")  # two may write at once
        assert aside.exists()
        process.send_signal(signal.SIGKILL)
    write_atomically(path, b"again")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([other.name, path.name])
    assert path.read_bytes() == b"again"


def test_a_link_at_the_place_aside_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "cache.npz"
    victim.write_text("precious")
    with atomic_file(path):
        (aside,) = tmp_path.glob(".*.part")
    aside.symlink_to(victim)
    write_atomically(path, b"ours")
    assert victim.read_text() == "precious"
    assert path.read_bytes() == b"ours"
    assert not path.is_symlink()


def test_a_folder_aside_is_gone_after_its_use(tmp_path: Path) -> None:
    with folder_aside(tmp_path / "out") as aside:
        assert aside.parent == tmp_path
        (aside / "file").touch()
    assert os.listdir(tmp_path) == []
