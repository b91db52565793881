import json
import struct
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastssl import train
from fastssl.config import Config
from fastssl.recipes import quickstart
from fastssl.run.log import RunLog
from fastssl.run.wandb_board import WandbBoard
from pipelines.command.errors import UserError
from tests.fastssl.run.test_log import steps_in


@pytest.fixture(scope="module")
def wandb() -> Iterator[Any]:
    """The real library. No test lets it meet a network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        library = pytest.importorskip("wandb", reason="wandb is not installed")
    yield library
    library.teardown()


def config_of(folder: Path) -> Config:
    config = quickstart()
    return replace(config, machine=replace(config.machine, out=str(folder)))


def records(folder: Path) -> Iterator[Any]:
    """Records of the .wandb file in a folder: a header of 7 bytes, then LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    content, begin, whole = path.read_bytes(), 7, b""
    while begin < len(content):
        if -begin % 32768 < 7:  # the end of a block has no room for a header
            begin += -begin % 32768
        _, length, kind = struct.unpack("<IHB", content[begin : begin + 7])
        whole += content[begin + 7 : begin + 7 + length]
        begin += 7 + length
        if kind in (1, 4):  # in one piece, or the last of several
            yield Record.FromString(whole)
            whole = b""


def logged(folder: Path) -> list[dict[str, Any]]:
    """History of a run, without what the library adds."""
    rows = []
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            row = {name: json.loads(value) for name, value in items.items()}
            rows.append({name: value for name, value in row.items() if name[0] != "_" or name == "_step"})
    return rows


def test_a_run_and_its_resumption_are_one_run_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wandb: Any
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "views.png")
    for first in (0, 2):
        with RunLog(tmp_path, first, 4) as log:
            log.use_wandb(config_of(tmp_path))
            log.baselines(first, {"untrained": 0.25, "pixels": 0.5})
            log.metrics(first + 1, 0.5, {"loss": first + 0.5})
            log.picture(tmp_path / "views.png")
            log.metrics(first + 2, 1.0, {"loss": first + 1.0})
            log.metrics(first + 2, 1.0, {"knn_top1": 0.75})
    wandb.teardown()  # waits for its process, which writes the files
    said = [line for line in capsys.readouterr().err.splitlines() if "W&B" in line]
    folders = [Path(line.removeprefix("W&B: offline in ").partition(", for")[0]) for line in said]
    assert len({*folders}) == 2
    name = (tmp_path / "wandb" / "id").read_text()
    for folder, first in zip(folders, (0, 2), strict=True):
        (run,) = [each.run for each in records(folder) if each.WhichOneof("record_type") == "run"]
        assert (run.run_id, run.display_name, run.project) == (name, tmp_path.name, "fastssl")
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert config["method.kind"] == "moco"
        assert config["optimizer.base_lr"] == quickstart().experiment.optimizer.base_lr
        assert (config["recipe"], config["data"]) == ("quickstart", "scenes")
        baselines, one, two = logged(folder)
        assert baselines == {"_step": first, "knn_top1_untrained": 0.25, "knn_top1_pixels": 0.5}
        assert (one["_step"], one["loss"], one["views/_type"]) == (first + 1, first + 0.5, "image-file")
        assert two == {"_step": first + 2, "loss": first + 1.0, "knn_top1": 0.75}
        with Image.open(folder / "files" / one["views/path"]) as picture:
            np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_steps_that_the_run_has_already_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wandb: Any
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with RunLog(tmp_path, 0, 4) as log:
        log.use_wandb(config_of(tmp_path))
        for step, loss in ((2, 2.0), (1, 9.0), (3, 3.0)):
            log.metrics(step, 0.5, {"loss": loss})
    wandb.teardown()  # waits for its process, which writes the files
    folder = next((tmp_path / "wandb").glob("offline-run-*"))
    assert logged(folder) == [{"_step": 2, "loss": 2.0}, {"_step": 3, "loss": 3.0}]
    assert "W&B failed" not in capsys.readouterr().err


def test_a_failure_is_one_line_and_nothing_more_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wandb: Any
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    said: list[str] = []
    board = WandbBoard(config_of(tmp_path), said.append)
    board.scalars(1, {"loss": 1.0})
    board.picture(tmp_path / "absent.png")
    board.scalars(2, {"loss": 2.0})
    board.picture(tmp_path / "absent.png")
    board.close(finished=True)
    _, failed = said
    assert failed.startswith("warning: W&B failed, and the run goes on without it: ")
    assert "absent.png" in failed


def test_a_file_in_the_way_stops_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wandb: Any
) -> None:
    (tmp_path / "wandb").write_text("")
    with RunLog(tmp_path, 0, 1) as log:
        log.use_wandb(config_of(tmp_path))
        log.metrics(1, 1.0, {"loss": 1.0})
    said, _ = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: W&B failed, and the run goes on without it: ")
    assert steps_in(tmp_path) == [1]


def test_without_a_login_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wandb: Any
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # and its .netrc
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb.teardown()  # it keeps the variables of its first use
    with RunLog(tmp_path, 0, 1) as log:
        log.use_wandb(config_of(tmp_path))
        log.metrics(1, 0.5, {"loss": 1.0})
    said, *_ = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: W&B failed, and the run goes on without it: ")
    assert "wandb login" in said
    assert steps_in(tmp_path) == [1]


def test_without_the_library_nothing_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"--logger wandb needs the library: pip install -e '.\[wandb\]'"):
        train.main(["quickstart", "--logger", "wandb", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
