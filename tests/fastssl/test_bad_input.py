"""A user's mistake: one clear line that names the thing and the remedy, status 2, nothing left behind."""

import json
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch

from fastssl import train
from fastssl.evaluate import __main__ as evaluate
from pipelines.command.errors import run_command

SMALL = [
    *("--epochs", "1", "--batch-size", "8", "--views.0.spec.size", "16", "--backbone.width", "0.0625"),
    *("--method.loss.num-negatives", "16", "--method.projector.hidden-dim", "16"),
    *("--threads", "1", "--workers", "1"),
]


def images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        (folder / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
    return folder


def cats_and_dogs(folder: Path) -> Path:
    """16 images of each of two classes."""
    for name in ("cat", "dog"):
        images(folder / name, 16)
    return folder


def train_error(capsys: pytest.CaptureFixture[str], *options: str | Path) -> str:
    """The one line that a training command answers with."""
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: train.main([str(option) for option in options]))
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def test_missing_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = train_error(capsys, "--data", tmp_path / "absent", "--out", tmp_path / "run")
    assert str(tmp_path / "absent") in line
    assert not (tmp_path / "run").exists()


def test_empty_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "cats").mkdir(parents=True)
    line = train_error(capsys, "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert str(tmp_path / "data") in line
    assert not (tmp_path / "run").exists()


def test_batch_larger_than_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = images(tmp_path / "data", 5)
    line = train_error(capsys, "--data", data, "--out", tmp_path / "run", *SMALL)
    assert "--batch-size to 5" in line


def test_a_pattern_that_the_shell_expanded_is_to_be_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [tmp_path / f"train-{number}.tar" for number in range(3)]
    for shard in shards:
        shard.touch()
    line = train_error(capsys, "quickstart", "--data", *shards)
    assert line == f"error: unexpected {shards[1]}: put a pattern into quotes: --data 'train-*.tar'"


def test_out_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = images(tmp_path / "data", 20)
    (tmp_path / "run").write_text("precious")
    line = train_error(capsys, "--data", data, "--out", tmp_path / "run", *SMALL)
    assert str(tmp_path / "run") in line
    assert (tmp_path / "run").read_text() == "precious"


def test_images_without_classes_train_but_cannot_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = images(tmp_path / "data", 20)
    out = tmp_path / "run"
    assert train.main([*SMALL, "--data", str(data), "--out", str(out)]) == 0
    assert "no kNN monitor" in capsys.readouterr().err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["knn_top1"] is None
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: evaluate.main(["knn", str(out)]))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no classes" in line
    assert not (out / "eval").exists()


def test_images_to_measure_on_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = images(tmp_path / "data", 20), tmp_path / "run"
    words = [*SMALL, "--data", str(data), "--out", str(out), "--monitor-data", str(tmp_path / "absent")]
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: train.main(words))
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: --monitor-data {tmp_path / 'absent'}: no kNN monitor: no such folder")
    assert not list(out.glob("checkpoints/*"))  # so that the folder may be used again


NONSENSE = [
    ("--batchsize 8", "did you mean --batch-size?"),
    ("--backbone.width 1000000", "width must be"),
    ("--views.0.spec.size 1000000", "size must be at least 1 and at most 4096, not 1000000"),
    ("--views.0.num-views 1", "num_views 2 in all, not 1"),
    ("--views.0.spec.mean nan 1 1", "view mean must be finite"),
    ("--jitter.contrast 1e300", "contrast must be at most 1e+12"),
    ("--projector.hidden-dim 99999999999999999999", "must be below 2^63"),
    ("--num-negatives 99999999999999999999", "--method.loss.num-negatives must be below 2^63"),
    ("--lr inf", "--optimizer.base-lr must be finite and above 0, not inf"),
    ("--batch-size 100 --accumulation-steps 3", "multiple"),
    ("--wait-minutes 1e300", "--wait-minutes must be at most 1e+12"),
    ("--seed 99999999999999999999", "--seed must be below 2^63"),
    ("--blocks-per-window 9223372036854775807", "--block-size times --blocks-per-window must be below 2^63"),
    ("--color-space lab", "--views.0.spec.color-space lab has mean and std of RGB: give Lab's own"),
    ("--threads 100000", "--threads must be at least 0 and at most 1024, not 100000"),
    ("--data=", "a place has no name: give --data A --data B"),
]


@pytest.mark.parametrize(("words", "said"), NONSENSE)
def test_nonsense_is_refused(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers of the right type that mean nothing: before memory is asked for, or hours are lost."""
    line = train_error(capsys, "--data", "scenes", "--out", tmp_path / "run", *words.split())
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_name_that_no_disk_takes_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = images(tmp_path / "data", 20)
    line = train_error(capsys, *SMALL, "--data", data, "--out", tmp_path / ("x" * 300))
    assert "File name too long" in line


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9.00 GiB"),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
        ),
    ],
)
def test_out_of_memory_names_the_batch(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(train, "build_on_device", run_out)
    data = images(tmp_path / "data", 20)
    line = train_error(capsys, *SMALL, "--data", data, "--out", tmp_path / "run")
    assert line.startswith("error: out of memory in a batch of 8 images: lower --batch-size")
