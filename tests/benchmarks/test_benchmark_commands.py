"""Every command for real, on a few images."""

import importlib
import importlib.util
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import decode, limits, loader, render, rounds, scenes, threads
from benchmarks.contenders import Batch, Work
from benchmarks.contenders.detection import DETECTION_CASES
from benchmarks.images import generated_jpeg
from benchmarks.result import check_places
from benchmarks.rounds import Case, Row
from benchmarks.worker import core_seconds_of, measure
from fastssl.__main__ import BENCHMARKS
from pipelines.backends.backend import BACKENDS
from pipelines.command.errors import UserError, run_command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "a class"
    path.mkdir()
    for number in range(4):
        (path / f"{number}.jpg").write_bytes(generated_jpeg(number, 120, 160))
    return path


@pytest.fixture
def _without_ffcv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ffcv").mkdir()
    (tmp_path / "ffcv" / "__init__.py").write_text("raise ModuleNotFoundError('No module named ffcv')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def rows_of(path: Path, argv: list[str]) -> list[dict[str, Any]]:
    """The rows of a result, which are checked."""
    result = json.loads(path.read_text())
    assert list(result) == ["machine", "versions", "commit", "command", "rows"]
    assert result["command"].startswith("python -m benchmarks.")
    assert all(word in result["command"] for word in argv)
    assert result["rows"]
    for row in result["rows"]:
        if "images_per_s" in row:
            assert_measured(row)
    return result["rows"]


def assert_measured(row: dict[str, Any]) -> None:
    assert set(Row.__dataclass_fields__) <= row.keys()
    low, high = row["core_us_quartiles"]
    assert 0 < low <= row["core_us_per_image"] <= high
    rounding = 0.05 * (1 + row["views"])  # both are rounded to a tenth
    assert row["views_per_s"] == pytest.approx(row["views"] * row["images_per_s"], abs=rounding + 1e-9)
    assert 50 < row["peak_mb"] < 10_000


@pytest.mark.parametrize("name", [*BENCHMARKS, "gpu"])
def test_a_place_that_takes_no_file_is_refused_before_anything_is_measured(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    module = importlib.import_module(f"benchmarks.{name}")
    required = [field.name for field in fields(module.Options) if field.default is MISSING]
    words = ["--data", "generated"] if "data" in required else []
    option = {"gpu": "--out", "report": "--chart"}.get(name, "--json")
    with pytest.raises(UserError, match=r"^cannot write .*file/new.* \(Not a directory\): name another f"):
        module.main([*words, option, str(tmp_path / "file" / "new" / "out.json")])


def test_folders_of_results_are_made(tmp_path: Path) -> None:
    check_places(tmp_path / "new" / "folder" / "out.json", None)
    assert (tmp_path / "new" / "folder").is_dir()
    with pytest.raises(UserError, match=r"folder \(it is a folder\): name another file"):
        check_places(tmp_path / "new" / "folder")


@pytest.mark.usefixtures("_without_ffcv")
def test_loader(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "loader.json"
    argv = ["--data", str(folder.parent), "--views", "2", "--images", "3", "--json", str(path)]
    assert loader.main([*argv, "--against", "ffcv", "pillow"]) == 0
    rows = rows_of(path, ["--views", "pillow"])
    own = [("fastssl", output) for output in ("views", "crops", "pixels")]
    assert {(row["contender"], row["output"]) for row in rows} == {*own, ("pillow", "views")}
    assert [(row["views"], row["threads"]) for row in rows] == [(2, 1)] * 4
    printed = capsys.readouterr()
    assert printed.err.count("ffcv (crops) is left out, not installed") == 1
    assert "| pillow | views |" in printed.out
    assert "ffcv |" not in printed.out


def test_numbers_of_views_are_columns_and_who_is_missing_is_asked_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Case]] = []

    def measure(cases: Sequence[Case], folder: Path) -> list[Row]:
        """All but FFCV cost 100 us per view."""
        asked.append(list(cases))
        return [
            Row(
                **asdict(case),
                core_us_per_image=100.0 * case.views,
                core_us_quartiles=(90.0, 110.0),
                images_per_s=10.0,
                views_per_s=10.0 * case.views,
                peak_mb=200.0,
            )
            for case in cases
            if case.contender != "ffcv"
        ]

    monkeypatch.setattr(loader, "measure", measure)
    argv = ["--data", str(folder), "--views", "1", "2", "--images", "3", "--against", "ffcv", "pillow"]
    assert loader.main(argv) == 0
    own = [("fastssl", output) for output in ("views", "crops", "pixels")]
    others = [[("ffcv", "crops"), ("pillow", "views")], [("pillow", "views")]]
    for cases, views, beside in zip(asked, (1, 2), others, strict=True):
        assert {case.views for case in cases} == {views}
        assert sorted((case.contender, case.output) for case in cases) == sorted([*own, *beside])
    lines = capsys.readouterr().out.splitlines()
    assert "| contender | output | K = 1 | K = 2 | peak MB, K = 2 |" in lines
    assert "| fastssl | pixels | 100 | 200 | 200 |" in lines
    assert "| pillow | views | 100 (1.0) | 200 (1.0) | 200 |" in lines


@pytest.mark.slow  # a process for each contender
def test_loader_over_parquet(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the file is written by pyarrow: pip install -e '.[parquet]'")
    path = tmp_path / "loader.json"
    argv = ["--data", str(folder), "--views", "2", "--images", "3", "--data-kind", "parquet"]
    assert loader.main([*argv, "--json", str(path)]) == 0
    rows = rows_of(path, argv)
    names = [(row["contender"], row["output"]) for row in rows]
    assert names[:3] == [("fastssl", "views"), ("fastssl", "parquet"), ("pyarrow", "parquet")]
    assert names[3:] == [("datasets", "parquet")] * is_installed("datasets")


def test_loader_of_detection(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "DETECTION_CASES", DETECTION_CASES[:1])  # one process is enough
    path = tmp_path / "loader.json"
    argv = ["--data", str(folder), "--task", "detection", "--images", "3", "--json", str(path)]
    assert loader.main(argv) == 0
    (row,) = rows_of(path, argv)
    assert (row["contender"], row["output"], row["views"]) == ("fastssl", "detection", 1)


@pytest.mark.slow  # a process for each contender
def test_backends_beside_the_loaders(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_OUTPUTS", ("views",))
    path = tmp_path / "backends.json"
    argv = ["--data", str(folder), "--views", "2", "--against", "--device", "cpu", "--json", str(path)]
    assert loader.main(argv) == 0
    rows = rows_of(path, ["--device"])
    printed = capsys.readouterr()
    names = [name for name in BACKENDS if name != "fake"]
    missing = [name for name in names if not is_installed({"dali": "nvidia.dali"}.get(name, name))]
    for name in names:
        assert printed.err.count(f"backend ({name}) is left out, not installed") == (name in missing)
    assert [(row["contender"], row["output"]) for row in rows] == [
        ("fastssl", "views"),
        *(("backend", name) for name in names if name not in missing),
    ]
    assert {row["device"] for row in rows} == {"cpu"}
    assert "| backend | resident |" in printed.out
    assert "Images per second:" in printed.out


def is_installed(package: str) -> bool:
    if package in ("cpu", "resident"):
        return True
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.gpu
def test_backends_on_a_gpu(folder: Path) -> None:
    cases = [
        Case(contender="backend", output=name, views=2, threads=2, device="cuda")
        for name in ("cpu", "resident")
    ]
    for row in rounds.measure(cases, folder):
        assert row.device == "cuda"
        assert_measured(asdict(row))


def test_a_contender_with_processes(folder: Path) -> None:
    (row,) = rounds.measure([Case(contender="torchvision", output="views", views=1, threads=2)], folder)
    assert row.threads == 2
    assert_measured(asdict(row))


@pytest.mark.slow  # a process for each contender
def test_decode(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "decode.json"
    assert decode.main(["--data", str(folder), "--json", str(path)]) == 0
    rows = rows_of(path, ["--data"])
    assert {"fastssl", "simplejpeg", "torchvision", "pillow"} <= {row["contender"] for row in rows}
    assert "| simplejpeg | decode |" in capsys.readouterr().out


@pytest.mark.slow  # a process for each contender
def test_limits(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    assert limits.main(["--data", str(folder), "--views", "2", "--json", str(path)]) == 0
    *own, stubbed = rows_of(path, ["--views"])
    assert [row["output"] for row in own] == ["decode", "pixels", "crops", "views"]
    for row in own:
        share = own[0]["core_us_per_image"] / row["core_us_per_image"]
        assert row["share_of_bound"] == pytest.approx(share, abs=1e-3)
    assert (stubbed["contender"], stubbed["threads"]) == ("stubbed", 16)


def test_render(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "render.json"
    argv = ["--data", str(folder), "--images", "1", "--size", "16", "--json", str(path)]
    assert render.main(argv) == 0
    rows = rows_of(path, ["--size"])
    assert rows[0]["step"] == "crop"
    assert rows[-1]["step"] == "chain"
    assert all(row["core_us_per_view"] > 0 for row in (rows[0], rows[-1]))  # the others are differences


def test_an_unknown_contender_is_one_line_and_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: loader.main(["--data", str(folder), "--against", "kornia"]))
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "kornia" in told.err
    assert "torchvision" in told.err


LOADER = ("loader", "--data", "generated")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*LOADER, "--views", "0"), "--views must be at least 1, not 0"),
        ((*LOADER, "--threads", "0"), "--threads must be at least 1, not 0"),
        ((*LOADER, "--images", "0"), "--images must be at least 1, not 0"),
        ((*LOADER, "--device", "cuda"), "--device cuda: torch sees no GPU here"),
        ((*LOADER, "--task", "detection", "--data-kind", "tar"), "--task detection reads files on the CPU"),
        (("views", "--views", "0"), "--views must be at least 1, not 0"),
        (("views", "--against", "albumentations"), "--against"),
        (("views", "--device", "cuda"), "--device cuda: torch sees no GPU here"),
        (("optimizer", "--contenders", "adam"), "adam"),
        (("optimizer", "--device", "cuda"), "--device cuda: torch sees no GPU here"),
        (("smoke", "--fast"), "benchmarks.smoke takes no options"),
        (("smoke",), "benchmarks.smoke checks kernels on a GPU, and torch sees none here"),
        (("tune",), "benchmarks.tune needs a GPU, and torch sees none here"),
        (("batch_norm",), "benchmarks.batch_norm needs a GPU, and torch sees none here"),
    ],
    ids=" ".join,
)
def test_mistakes_are_named(words: Sequence[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    name, *argv = words
    with pytest.raises(UserError, match=message):
        importlib.import_module(f"benchmarks.{name}").main(argv)


def test_a_contender_that_fails_is_named(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.jpg").write_bytes((folder / "0.jpg").read_bytes()[:2000])
    with pytest.raises(UserError, match="simplejpeg failed at decode"):
        rounds.measure([Case(contender="simplejpeg", output="decode", views=1)], tmp_path)
    assert "ValueError" in capfd.readouterr().err


def test_the_time_of_processes_counts() -> None:
    busy = "import time\nwhile time.process_time() < 0.6: pass\ntime.sleep(600)"
    process = multiprocessing.get_context("spawn").Process(target=exec, args=(busy,), daemon=True)

    def run() -> Iterator[Batch]:
        process.start()
        assert process.pid is not None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and core_seconds_of(process.pid) < 0.5:
            time.sleep(0.05)
        yield ([np.zeros(1)],)

    try:
        taken = measure(run)
    finally:
        process.kill()
        process.join()
    assert taken.images == 1
    assert taken.core_s >= 0.5


def test_work_lists_its_files_in_order(folder: Path) -> None:
    assert Work(folder=folder, views=1).files() == [str(folder / f"{number}.jpg") for number in range(4)]


@pytest.mark.slow
def test_threads_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "threads.json"
    assert threads.main(["--data", "generated", "--images", "4", "--json", str(path)]) == 0
    found = {(row["contender"], row["output"], row["threads"]) for row in rows_of(path, ["--data"])}
    own = [("fastssl", output) for output in ("pixels", "crops", "views")]
    assert found == {(*name, number) for name in (("simplejpeg", "decode"), *own) for number in (1, 2)}
    assert "| contender | output | 1 thread | 2 threads |" in capsys.readouterr().out


def test_scenes_are_timed_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_ROUNDS", 1)
    argv = ["--images", "1", "--json", str(tmp_path / "s.json"), "--sheet", str(tmp_path / "s.jpg")]
    assert scenes.main(argv) == 0
    rows = rows_of(tmp_path / "s.json", argv)
    assert [row["core_us_per_image"] > 0 for row in rows] == [True] * 7
    with Image.open(tmp_path / "s.jpg") as image:
        assert image.size == (64 * (10 + 4), 64 * 12)
