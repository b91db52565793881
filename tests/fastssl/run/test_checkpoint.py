import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fastssl.run import checkpoint
from pipelines.command.errors import UserError
from tests.helpers import ROOT

# Saves in a child process, which is killed at a random moment; at least 20 times, each a new child.
KILLED_WHILE_SAVING = """
import os, random, signal, sys, time
from itertools import count
from pathlib import Path
import torch
from fastssl.run import checkpoint

torch.set_num_threads(1)  # a child of fork has no thread pool

def identity(path):
    return path.stat().st_mtime_ns if path.exists() else None

path, moments, previous, inside = Path(sys.argv[1]), random.Random(0), 0, 0
for number in range(200):
    if number >= 20 and inside >= 3:
        break
    before = identity(path)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # should the test itself be killed
        for step in count(previous + 1):
            checkpoint.save(path, {"step": step, "weights": torch.full((500_000,), float(step))})
    while identity(path) == before:
        time.sleep(0.001)  # until the child has saved once
    time.sleep(moments.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    state = checkpoint.load(path)
    assert bool((state["weights"] == state["step"]).all()), "half of one, half of another"
    assert state["step"] >= previous, "an older one came back"
    inside += any(other != path for other in path.parent.iterdir())
    previous = state["step"]
    for other in path.parent.iterdir():
        if other != path:
            other.unlink()
print(previous, inside)
"""


def state_of(step: int, size: int = 10) -> dict[str, object]:
    return {"step": step, "weights": torch.full((size,), float(step))}


def assert_holds(path: Path, step: int) -> None:
    state = checkpoint.load(path)
    assert state["step"] == step
    assert bool((state["weights"] == step).all())


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.pt"  # the folder is made
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    means = {"loss": torch.tensor(1.5, dtype=torch.bfloat16)}
    checkpoint.save(
        path,
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "means": means,
            "config": {"a": [1, None, "ü", 0.1]},
        },
    )
    state = checkpoint.load(path)
    for name, value in model.state_dict().items():
        assert torch.equal(state["model"][name], value)
        assert state["model"][name].dtype == value.dtype
    buffers = optimizer.state_dict()["state"]
    assert torch.equal(state["optimizer"]["state"][0]["momentum_buffer"], buffers[0]["momentum_buffer"])
    assert torch.equal(state["means"]["loss"], means["loss"])
    assert state["config"] == {"a": [1, None, "ü", 0.1]}
    assert [entry.name for entry in path.parent.iterdir()] == ["last.pt"]


def test_killed_at_random_moments_the_file_always_loads(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLED_WHILE_SAVING, str(tmp_path / "last.pt")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    saved, killed_inside = map(int, done.stdout.split())
    assert saved >= 20  # each child saved at least once
    assert killed_inside > 0, "no kill fell into a save: the test has shown nothing"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a full disk needs the mount command")
    if mounted.returncode != 0:
        pytest.skip(f"a full disk needs the right to mount: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_previous_checkpoint_and_says_so(small_disk: Path) -> None:
    path = small_disk / "checkpoints" / "last.pt"
    checkpoint.save(path, state_of(1, 100_000))
    with pytest.raises(UserError, match="the previous checkpoint is intact") as refusal:
        checkpoint.save(path, state_of(2, 1_000_000))
    assert "No space left" in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert_holds(path, 1)
    assert [entry.name for entry in path.parent.iterdir()] == ["last.pt"]
    checkpoint.save(path, state_of(3, 100_000))  # the space is free again
    assert_holds(path, 3)


def test_a_full_disk_before_the_first_checkpoint(small_disk: Path) -> None:
    with pytest.raises(UserError, match="there is no earlier checkpoint"):
        checkpoint.save(small_disk / "last.pt", state_of(2, 1_000_000))
    assert list(small_disk.iterdir()) == []


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """No file of this process may grow beyond 1 MB: needs no rights, unlike a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("file_size_limit")
def test_a_write_that_is_cut_off_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    for step in (0, 1):
        checkpoint.save(tmp_path / "last.pt", state_of(step))
    with pytest.raises(UserError, match="the previous checkpoint is intact"):
        checkpoint.save(tmp_path / "last.pt", state_of(2, 1_000_000))
    assert_holds(tmp_path / "last.pt", 1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_that_is_a_file_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("precious")
    with pytest.raises(UserError, match="cannot write the checkpoint"):
        checkpoint.save(tmp_path / "checkpoints" / "last.pt", state_of(1))
    assert (tmp_path / "checkpoints").read_text() == "precious"


@pytest.mark.parametrize("content", [b"", b"garbage\nof two lines", b"PK\x03\x04" + bytes(200)])
def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        checkpoint.load(path)
    assert f"{path} is not a checkpoint" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_truncated_checkpoint_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, state_of(1, 1000))
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=r"is not a checkpoint[^\n]*$"):
            checkpoint.load(path)


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    """At 300 places of the file, among the weights and in what is about them."""
    path = tmp_path / "last.pt"
    state = {"step": 7, "weights": torch.randn(2000), "names": {"a": 1.5, "b": "x" * 40}}
    checkpoint.save(path, state)
    whole, places, refusals = path.read_bytes(), random.Random(0), []
    for _ in range(300):
        data = bytearray(whole)
        data[places.randrange(len(data))] ^= 1 << places.randrange(8)
        path.write_bytes(data)
        try:
            found = checkpoint.load(path)
        except UserError as refusal:
            refusals.append(str(refusal))
            continue
        assert torch.equal(found.pop("weights"), state["weights"])  # type: ignore[arg-type]
        assert found == {"step": 7, "names": state["names"]}
    assert len(refusals) > 200
    assert all("damaged" in refusal and "\n" not in refusal for refusal in refusals)


def test_a_file_of_torch_that_holds_something_else(tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "last.pt")
    with pytest.raises(UserError, match="is not a checkpoint of this fastssl"):
        checkpoint.load(tmp_path / "last.pt")


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harm",)


def test_loading_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"step": RunsCode()}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="is not a checkpoint"):
        checkpoint.load(tmp_path / "last.pt")
    assert not (tmp_path / "harm").exists()


def test_a_missing_checkpoint_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train the run first"):
        checkpoint.load(tmp_path / "last.pt")
