"""One file of a run folder damaged, and the same command again: one line, or it goes on with the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastssl import train
from fastssl.evaluate import __main__ as evaluate
from fastssl.run.folder import LAST
from pipelines.command.errors import run_command
from tests.helpers.image_folder import write_colors

OPTIONS = [
    *("--epochs", "1", "--batch-size", "4", "--views.0.spec.size", "16", "--backbone.width", "0.0625"),
    *("--method.loss.num-negatives", "8", "--method.projector.hidden-dim", "8", "--log-every", "1"),
    *("--threads", "1", "--workers", "1", "--monitor-every", "0"),
]
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, ``run``, on images beside it."""
    folder = tmp_path_factory.mktemp("finished")
    write_colors(folder / "data" / "train", 4, seed=0)
    write_colors(folder / "data" / "test", 2, seed=1)
    arguments = [*OPTIONS, "--data", str(folder / "data"), "--out", str(folder / "run")]
    assert train.main(arguments) == 0
    return folder


def writes(name: str, content: bytes | str) -> Damage:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda run: (run / name).write_bytes(data)


def folder_at(name: str) -> Damage:
    def damage(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()

    return damage


def file_at(name: str) -> Damage:
    def damage(run: Path) -> None:
        shutil.rmtree(run / name)
        (run / name).write_text("x")

    return damage


def entry(name: str, key: str, value: Any) -> Damage:
    """Another value of an entry of a JSON; None: none."""

    def damage(run: Path) -> None:
        values = json.loads((run / name).read_text())
        values.pop(key) if value is None else values.update({key: value})
        (run / name).write_text(json.dumps(values))

    return damage


def checkpoint_entry(key: str, value: Any) -> Damage:
    def damage(run: Path) -> None:
        state = torch.load(run / "checkpoints/last.pt", weights_only=True)
        state.pop(key) if value is None else state.update({key: value})
        torch.save(state, run / "checkpoints/last.pt")

    return damage


def damaged(finished: Path, tmp_path: Path, damage: Damage, *, unfinished: bool) -> Path:
    """A copy of the run, of which summary.json says that it is under way, with the damage done to it."""
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    if unfinished:
        entry("summary.json", "status", "running")(run)
    damage(run)
    return run


def answer(capsys: pytest.CaptureFixture[str], command: Callable[[], int]) -> str:
    """The last line of a command; it is the only one where the exit status is not 0."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_command(command)
    *before, line = capsys.readouterr().err.splitlines() or [""]
    assert ended.value.code in (0, 2)
    assert line.startswith("error: ") == (ended.value.code == 2)
    assert not [other for other in before if "Traceback" in other]
    return line


DEEP = "[" * 100_000
REFUSED: dict[str, tuple[Damage, str]] = {
    "config.json empty": (writes("config.json", ""), "cannot read the config"),
    "config.json deep": (writes("config.json", DEEP), "cannot read the config"),
    "config.json no UTF-8": (writes("config.json", b"\xff"), "cannot read the config"),
    "config.json gone": (lambda run: (run / "config.json").unlink(), "is not empty and not a run folder"),
    "config.json a folder": (folder_at("config.json"), "Is a directory"),
    "config.json, config 5": (entry("config.json", "config", 5), "is not the config.json of a run"),
    "config.json, data a list": (entry("config.json", "data", [1]), "config.json is damaged (data)"),
    "config.json, no data": (entry("config.json", "data", None), "json is damaged (data): put it back"),
    "last.pt empty": (writes("checkpoints/last.pt", ""), "last.pt is not a checkpoint"),
    "last.pt a folder": (folder_at("checkpoints/last.pt"), "last.pt is not a checkpoint"),
    "last.pt, no method": (checkpoint_entry("method", None), "is not a checkpoint of a run"),
    "last.pt, method of nothing": (checkpoint_entry("method", {}), "last.pt does not fit the run"),
    "last.pt, method 5": (checkpoint_entry("method", 5), "last.pt does not fit the run"),
    "last.pt, step a text": (checkpoint_entry("step", "x"), "last.pt is of step x"),
    "last.pt, step below 0": (checkpoint_entry("step", -5), "last.pt is of step -5"),
    "last.pt, step beyond": (checkpoint_entry("step", 10**9), "last.pt is of step 1000000000"),
    "last.pt, optimizer of nothing": (checkpoint_entry("optimizer", {}), "last.pt does not fit the run"),
    "last.pt, means 5": (checkpoint_entry("means", 5), "last.pt does not fit the run"),
    "last.pt, clock of nothing": (checkpoint_entry("clock", {}), "last.pt does not fit the run"),
    "last.pt, config 5": (checkpoint_entry("config", 5), "last.pt holds no config of a run"),
    "checkpoints a file": (file_at("checkpoints"), "checkpoints is no folder"),
    "metrics.jsonl a folder": (folder_at("metrics.jsonl"), "metrics.jsonl: Is a directory: move it away"),
    "tb a file": (file_at("tb"), "tb"),
    "curves.png a folder": (folder_at("curves.png"), "curves.png: Is a directory: move it away"),
    "bad_images.txt a folder": (folder_at("bad_images.txt"), "bad_images.txt: Is a directory: move it away"),
    "summary.json a folder": (folder_at("summary.json"), "summary.json: Is a directory: move it away"),
    "lock a folder": (folder_at("lock"), "lock"),
    "lock of another": (writes("lock", "hello"), "lock is no lock of a run"),
}
GOES_ON: dict[str, Damage] = {
    "metrics.jsonl": writes(
        "metrics.jsonl",
        b'5\n{"loss": 1}\n{"step": "x", "loss": 1}\n{"step": 1, "loss": 2.0}\n{"step": 1, "epoch": [], '
        b'"loss": "y"}\n{"step": 1, "x": "\xff"}\n' + DEEP.encode() + b"\n",
    ),
    "bad_images.txt no UTF-8": writes("bad_images.txt", b"/d/\xff.jpg\tx\n"),
    "views.png a folder": folder_at("views.png"),
    "eval a file": writes("eval", "x"),
    "features a file": writes("features", "x"),
}
OF_A_SUMMARY = {
    "a list": (writes("summary.json", "[]"), "summary.json is damaged"),
    "empty": (writes("summary.json", ""), "summary.json is damaged"),
    "no UTF-8": (writes("summary.json", b"\xff"), "summary.json is damaged"),
    "deep": (writes("summary.json", DEEP), "summary.json is damaged"),
    "finished, no more": (
        writes("summary.json", '{"status": "finished"}'),
        "summary.json is damaged",
    ),
}


def again(finished: Path, run: Path) -> Callable[[], int]:
    return lambda: train.main([*OPTIONS, "--data", str(finished / "data"), "--out", str(run)])


@pytest.mark.parametrize("name", REFUSED)
def test_training_refuses_in_one_line(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, said = REFUSED[name]
    run = damaged(finished, tmp_path, damage, unfinished=True)
    before = {path: path.read_bytes() for path in (run / "config.json", run / LAST) if path.is_file()}
    assert said in answer(capsys, again(finished, run))
    assert all(path.read_bytes() == content for path, content in before.items())  # nothing is lost


@pytest.mark.parametrize("name", GOES_ON)
def test_training_goes_on_with_the_rest(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = damaged(finished, tmp_path, GOES_ON[name], unfinished=True)
    line = answer(capsys, again(finished, run))
    assert not line.startswith("error"), line
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("name", OF_A_SUMMARY)
def test_a_damaged_summary_stops_training_and_no_measurement(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, said = OF_A_SUMMARY[name]
    run = damaged(finished, tmp_path, damage, unfinished=False)
    assert said in answer(capsys, again(finished, run))
    assert not answer(capsys, measuring(run)).startswith("error")
    assert json.loads((run / "eval/knn.json").read_text())["protocol"] == "knn"


def measuring(run: Path) -> Callable[[], int]:
    return lambda: evaluate.main(["knn", str(run), "--workers", "1"])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (writes("checkpoints/last.pt", "hello"), "last.pt is not a checkpoint"),
        (checkpoint_entry("encoder", {}), "last.pt is damaged: its weights do not fit its config"),
        (checkpoint_entry("encoder", 5), "last.pt is damaged: its weights do not fit its config"),
        (checkpoint_entry("config", 5), "last.pt holds no config of a run"),
        (checkpoint_entry("step", None), "last.pt is not a checkpoint"),
        (file_at("checkpoints"), "last.pt"),
        (writes("eval", "x"), "eval"),
    ],
)
def test_measuring_refuses_in_one_line(
    damage: Damage, said: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = damaged(finished, tmp_path, damage, unfinished=True)
    line = answer(capsys, measuring(run))
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.parametrize(
    "damage", [writes("config.json", DEEP), folder_at("config.json"), writes("features", "x")]
)
def test_measuring_goes_on_with_the_rest(
    damage: Damage, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = damaged(finished, tmp_path, damage, unfinished=True)
    assert not answer(capsys, measuring(run)).startswith("error")
    assert list((run / "eval").glob("knn*.json"))
