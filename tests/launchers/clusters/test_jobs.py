"""What a job is, how its end is read, and when it is not tried again."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from launchers.clusters.child import Child, outcome_of
from launchers.sweeps import attempts
from launchers.sweeps.attempts import check_attempts, read_attempts, why_not_again
from launchers.sweeps.job import Job
from launchers.sweeps.log import last_line
from launchers.sweeps.stage import staged
from pipelines.command.errors import UserError
from pipelines.command.places import require_place
from pipelines.sources import open_source
from tests.helpers.stub_runs import stub_job, stub_sweep


def test_commands() -> None:
    job = Job(sweep=Path("/s"), run="r", data="/d")
    words = ["-m", "fastssl.train", "/s/configs/r.json", "--out", "/s/runs/r", "--data", "/d"]
    assert job.command()[1:] == words
    linear = Job(sweep=Path("/s"), run="r", data="/d", evaluation="linear")
    assert linear.command()[1:] == ["-m", "fastssl.evaluate", "linear", "/s/runs/r", "--data", "/d"]
    kept = Job(sweep=Path("/s"), run="r", data="/d", evaluation="knn-epoch-0050")
    assert kept.command()[3:5] == ["knn", "/s/runs/r/checkpoints/epoch-0050.pt"]
    assert kept.name == "r.knn-epoch-0050"


@pytest.mark.parametrize(
    ("status", "asked", "outcome"),
    [
        (0, False, "finished"),
        (0, True, "finished"),
        (2, False, "mistake"),
        (143, False, "interrupted"),
        (130, True, "interrupted"),
        (-signal.SIGTERM, True, "interrupted"),  # before it could catch it: nothing is lost
        (-signal.SIGTERM, False, "crashed"),
        (-signal.SIGKILL, False, "crashed"),
        (1, True, "crashed"),
    ],
)
def test_what_an_exit_status_means(status: int, asked: bool, outcome: str) -> None:
    assert outcome_of(status, asked) == outcome


def test_the_last_line_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"first\n  bar 1\rbar 2\r\n\n")
    assert last_line(log) == "bar 2"
    assert last_line(log, start=log.stat().st_size) == ""
    log.write_bytes(b"x" * 200_000 + b"\nerror: the end\n")
    assert last_line(log) == "error: the end"
    assert last_line(tmp_path / "none") == ""


def test_a_child_does_not_die_of_usr2(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "import time; time.sleep(0.5)"], tmp_path, tmp_path / "log")
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGUSR2)
    assert child.wait(10)
    assert child.status() == 0
    signal.pthread_sigmask(signal.SIG_BLOCK, [])  # and this process still hears it
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_errors_of_this_attempt_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("RuntimeError: of yesterday\n")
    child = Child([sys.executable, "-c", "raise SystemExit(7)"], tmp_path, log)
    assert child.wait(10)
    assert child.error() == "exit status 7, and not a word"


# --- attempts -----------------------------------------------------------------------------------------------


def test_an_attempt_without_an_end_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = attempts.begin(path, "1", steps=0)
    second = attempts.begin(path, "1", steps=5)
    assert (first, second) == (1, 2)
    assert [found.outcome for found in read_attempts(path)] == ["lost", "running"]
    attempts.end(path, second, "crashed", 1, "boom")
    path.write_text(path.read_text() + '{"number": 3, "sta')  # cut by the crash of a machine
    assert [found.outcome for found in read_attempts(path)] == ["lost", "crashed"]
    assert read_attempts(path)[1].error == "boom"


def history(path: Path, *ends: tuple[str, int], job_id: str = "1") -> list[attempts.Attempt]:
    """Attempts with these outcomes, each begun after so many steps."""
    for outcome, steps in ends:
        number = attempts.begin(path, job_id, steps)
        if outcome != "lost":
            attempts.end(path, number, outcome, 1, f"{outcome} {number}")  # type: ignore[arg-type]
    return read_attempts(path)


def test_crashes_are_bounded(tmp_path: Path) -> None:
    found = history(tmp_path / "a", ("crashed", 0), ("interrupted", 10), ("crashed", 20))
    assert why_not_again(found, "1", steps=20, retries=2) is None
    assert why_not_again(found, "1", steps=20, retries=1) == "crashed 2 times: crashed 3"
    assert why_not_again(found, "2", steps=20, retries=0) is None  # submitted anew


def test_losses_are_bounded_while_nothing_moves(tmp_path: Path) -> None:
    found = history(tmp_path / "a", ("lost", 0), ("lost", 10), ("lost", 10))
    assert why_not_again(found, "1", steps=10, retries=2) is None
    assert why_not_again(found, "1", steps=20, retries=0) is None  # the last one got further
    assert "lost 2 times without getting further" in str(why_not_again(found, "1", steps=10, retries=1))


def test_lost_nodes_that_the_cluster_tells_of_are_no_fault_of_the_run(tmp_path: Path) -> None:
    """Until the cluster gives a node up, it may start the job there again."""
    path = tmp_path / "a"
    for count in range(1, 13):
        attempts.end(path, attempts.begin(path, "1", 10), "lost", 1, "SLURM lost a node: n2 down*")
        reason = why_not_again(read_attempts(path), "1", steps=10, retries=0)
        assert (reason is None) == (count <= attempts.IDLE_LOSSES)


def test_a_mistake_is_not_tried_again(tmp_path: Path) -> None:
    found = history(tmp_path / "a", ("mistake", 0))
    assert why_not_again(found, "1", steps=0, retries=9) == "mistake 1"


def test_interruptions_are_bounded_while_nothing_moves(tmp_path: Path) -> None:
    """An evaluation that always reaches its time limit has no steps to show."""
    found = history(tmp_path / "a", *[("interrupted", 10)] * 3)
    assert why_not_again(found, "1", steps=10, retries=2, interruptions=3) is None
    assert "interrupted 3 times" in str(why_not_again(found, "1", steps=10, retries=2, interruptions=2))
    assert why_not_again(found, "1", steps=20, retries=0, interruptions=0) is None
    folder = stub_sweep(tmp_path / "sweep")
    job, measure = stub_job(folder, "good", retries=2), stub_job(folder, "good", "linear", retries=2)
    for each in (job, measure):
        history(folder.attempts(each.name), *[("interrupted", 0)] * 3)
    assert job.why_not_again("1") is None
    assert "--eval-time" in str(measure.why_not_again("1"))


def test_a_result_on_other_images_is_found_by_their_name(tmp_path: Path) -> None:
    folder = stub_sweep(tmp_path / "sweep")
    own = Job(sweep=folder.path, run="r", data="/d/stl", evaluation="linear")
    other = Job(sweep=folder.path, run="r", data="/d/stl", eval_data="/e/cifar", evaluation="linear")
    assert (own.result(), other.result()) == (None, None)
    (folder.run("r") / "eval").mkdir(parents=True)
    on_cifar = folder.evaluation("r", "linear@cifar-12345678")
    on_cifar.write_text("{}")
    assert (own.result(), other.result()) == (None, on_cifar)
    folder.evaluation("r", "linear").write_text('{"data_name": "stl-12345678"}')
    assert (own.result(), other.result()) == (folder.evaluation("r", "linear"), on_cifar)
    on_cifar.unlink()
    assert other.result() is None  # it is of the training's images
    folder.evaluation("r", "linear").write_text('{"data_name": "cifar-12345678"}')
    assert other.result() == folder.evaluation("r", "linear")
    assert other.command()[-2:] == ["--data", "/e/cifar"]
    training = Job(sweep=folder.path, run="r", data="/d/stl", eval_data="/e/cifar", device="cuda")
    assert training.command()[-4:] == ["--data", "/d/stl", "--device", "cuda"]


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "5",
        '{"number": "x"}',
        '{"number": 2, "outcome": "good"}',
        "\xff",
        "[" * 100_000,
        '{"job_id": "1"}',
    ],
    ids=lambda line: line[:12],
)
def test_damaged_lines_of_attempts(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    history(path, ("crashed", 0), ("lost", 5))
    check_attempts(path)
    whole = path.read_bytes()
    first, _, rest = whole.partition(b"\n")
    path.write_bytes(first + b"\n" + line.encode("latin-1") + b"\n" + rest)
    assert [found.outcome for found in read_attempts(path)] == ["crashed", "running"]
    with pytest.raises(UserError, match=r"a\.jsonl is damaged \(line 2\)"):
        check_attempts(path)
    assert attempts.begin(path, "1", steps=5) == 3
    path.write_bytes(whole + b'{"number": 3, "sta')  # cut by the crash of a machine
    check_attempts(path)


def test_a_child_finds_the_snapshot_whatever_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    (tmp_path / "only_here.py").write_text("print('found')")
    child = Child([sys.executable, "-m", "only_here"], tmp_path, tmp_path / "log")
    assert child.status() == 0
    assert child.last_line() == "found"


def test_a_job_asks_its_run_folder(tmp_path: Path) -> None:
    folder = stub_sweep(tmp_path / "sweep")
    job, measure = stub_job(folder, "good"), stub_job(folder, "good", "knn")
    assert (job.is_done(), job.steps_done(), measure.is_done()) == (False, 0, False)
    folder.run("good").mkdir(parents=True)
    summary = folder.run("good") / "summary.json"
    summary.write_text('{"status": "run')  # being written by something less careful
    assert (job.is_done(), job.steps_done()) == (False, 0)
    summary.write_text(json.dumps({"status": "finished", "steps_done": 7}))
    assert (job.is_done(), job.steps_done()) == (True, 7)


# --- staging ------------------------------------------------------------------------------------------------


def write(folder: Path) -> Path:
    """A folder of one image."""
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"1")
    return folder


def test_data_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "images" / "train")
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    copy = Path(staged(str(source.parent), "$NODE_DISK/cache"))
    assert copy.name == "images"
    assert (copy / "train" / "a.jpg").read_bytes() == b"1"
    (copy / "train" / "a.jpg").write_bytes(b"2")  # a second copy would undo this
    assert staged(str(source.parent), "$NODE_DISK/cache") == str(copy)
    assert (copy / "train" / "a.jpg").read_bytes() == b"2"


def test_changed_data_is_copied_anew(tmp_path: Path) -> None:
    source = write(tmp_path / "images")
    first = Path(staged(str(source), str(tmp_path / "disk")))
    (source / "b.jpg").write_bytes(b"2")
    second = Path(staged(str(source), str(tmp_path / "disk")))
    assert sorted(path.name for path in second.iterdir()) == ["a.jpg", "b.jpg"]
    os.utime(source / "b.jpg", ns=(0, 0))  # of the same size
    (source / "b.jpg").write_bytes(b"3")
    third = Path(staged(str(source), str(tmp_path / "disk")))
    assert (third / "b.jpg").read_bytes() == b"3"
    assert (first / "a.jpg").read_bytes() == b"1"  # a job may still read it


def test_half_a_copy_is_done_again(tmp_path: Path) -> None:
    source = write(tmp_path / "images")
    copy = Path(staged(str(source), str(tmp_path / "disk")))
    (copy.parent / "complete").unlink()
    (copy / "a.jpg").write_bytes(b"")
    assert (Path(staged(str(source), str(tmp_path / "disk"))) / "a.jpg").read_bytes() == b"1"


def test_the_files_of_a_pattern_are_copied(tmp_path: Path) -> None:
    for name in ("train-0.tar", "train-1.tar", "note.txt"):
        (tmp_path / name).write_bytes(name.encode())
    pattern = staged(str(tmp_path / "train-{0..1}.tar"), str(tmp_path / "disk"))
    assert Path(pattern).name == "train-{0..1}.tar"
    copied = sorted(path.name for path in Path(pattern).parent.iterdir())
    assert copied == ["complete", "lock", "train-0.tar", "train-1.tar"]


def test_of_a_part_of_a_folder_the_folder_is_copied(tmp_path: Path) -> None:
    year = write(tmp_path / "VOC2012")
    copy = staged(f"{year}:trainval", str(tmp_path / "disk"))
    assert copy == f"{staged(str(year), str(tmp_path / 'disk'))}:trainval"
    assert copy.endswith("/VOC2012:trainval")
    assert Path(copy.removesuffix(":trainval"), "a.jpg").read_bytes() == b"1"


@pytest.mark.parametrize("files", ["", "/data/train-*.parquet", "/data/train-0.parquet"])
@pytest.mark.usefixtures("own_cache")
def test_columns_of_parquet_files_stay_named(files: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet files are written by pyarrow")
    jpeg = bytes(simplejpeg.encode_jpeg(np.zeros((9, 9, 3), np.uint8)))
    (tmp_path / "set/data").mkdir(parents=True)
    table = pyarrow.table({"photo": [jpeg, jpeg], "image": ["a", "b"], "fine": ["cat", "dog"]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "set/data/train-0.parquet")
    data = f"{tmp_path}/set{files}?image=photo&label=fine"
    require_place(data, "--data")
    copy = staged(data, str(tmp_path / "disk"))
    assert copy.startswith(f"{tmp_path}/disk/")
    own, other = (open_source(where, "train") for where in (copy, data))
    assert own.index.fingerprint == other.index.fingerprint
    assert own.index.class_names == ("cat", "dog")
    two = staged(f"{data} + scenes", str(tmp_path / "disk"))
    assert two == f"{copy} + scenes"


def test_what_is_not_staged(tmp_path: Path) -> None:
    assert staged("scenes", str(tmp_path)) == "scenes"
    assert staged("/data", "") == "/data"
    with pytest.raises(UserError, match="does not set that variable"):
        staged("/data", "$NO_SUCH_VARIABLE/x")
    with pytest.raises(UserError, match=r"no file matches .*none\.parquet$"):
        staged(str(tmp_path / "none.parquet?image=photo"), str(tmp_path / "disk"))
    with pytest.raises(UserError, match="no file matches"):
        staged(str(tmp_path / "none.tar"), str(tmp_path / "disk"))
