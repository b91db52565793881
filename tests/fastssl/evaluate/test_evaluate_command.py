"""``python -m fastssl.evaluate`` on a run folder that was put together by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastssl.evaluate import PROTOCOLS
from fastssl.evaluate.__main__ import main
from pipelines.command.errors import run_command
from pipelines.files.atomic import write_json
from tests.helpers.image_folder import write_colors


def results(run: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "eval" / f"{name}.json").read_text())
    return found


def test_knn_writes_its_result_with_its_settings(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(run / "summary.json", {"knn_top1_pixels": 0.125, "knn_top1_untrained": 0.25})
    assert main(["knn", str(run)]) == 0
    found = results(run, "knn")
    assert found["test_images_are"] == "test split"
    assert found["settings"]["temperature"] == 0.07
    for key in ("top1_k20", "top1_k200"):
        assert found[key] * 18 == pytest.approx(round(found[key] * 18))  # a share of the test images
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(run / "eval" / "knn.json")
    table = {line[:17].strip(): line.split()[2:] for line in lines[1:4]}
    assert table["raw pixels"] == ["0.125"]
    assert table["untrained encoder"] == ["0.250"]
    assert table["trained encoder"] == [f"{found[key]:.3f}" for key in ("top1_k20", "top1_k200")]


def test_other_data_may_be_given(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(run / "summary.json", {"knn_top1_pixels": 0.125, "knn_top1_untrained": 0.25})
    write_colors(tmp_path / "other", 20, names=("red", "blue"))
    assert main(["knn", str(run)]) == 0
    own = results(run, "knn")
    assert "untrained" in capsys.readouterr().out
    assert main(["knn", str(run), "--data", str(tmp_path / "other")]) == 0
    assert results(run, "knn") == own
    (other,) = (run / "eval").glob("knn@other-*.json")
    found = results(run, other.stem)
    assert found["data_name"] == other.stem.removeprefix("knn@")
    assert found["train_images"] + found["test_images"] == 40
    assert found["test_images_are"].startswith("held-out 20%")
    assert "untrained" not in capsys.readouterr().out  # those metrics are of the training's data


def test_linear_searches_a_rate_where_no_paper_states_one(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["linear", str(run), "--epochs", "10"]) == 0
    found = results(run, "linear+epochs=10")
    assert found["settings"]["setting"] == "search"
    assert found["settings"]["learning_rate"] in found["settings"]["candidates"]
    assert found["settings"]["drops"] == [6, 8]
    assert found["epochs"] == 10
    assert found["batch_size"] == 36
    assert found["augmentation"] == "flip"
    assert 0 <= found["top1"] <= 1
    assert f"(search setting, rate {found['settings']['learning_rate']:g}, flip, 10 epochs)" in (
        capsys.readouterr().out
    )


def test_linear_by_another_setting(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linear", str(run), "--setting", "lars", "--augmentation", "crop", "--seed", "3"]) == 0
    found = results(run, "linear+setting=lars+augmentation=crop+seed=3")
    assert found["settings"]["setting"] == "lars"
    assert found["settings"]["learning_rate"] == 0.8
    assert found["settings"]["seed"] == 3
    assert found["epochs"] == 80
    assert "(lars setting, crop, 80 epochs)" in capsys.readouterr().out


def test_several_protocols_measure_several_runs(run: Path) -> None:
    kept = run / "checkpoints" / "epoch-0001.pt"
    assert main(["knn,linear", str(run), str(kept), "--k", "1", "5", "--epochs=2"]) == 0
    assert {path.name for path in (run / "eval").iterdir()} == {
        "knn+k=1,5.json",
        "knn+k=1,5-epoch-0001.json",
        "linear+epochs=2.json",
        "linear+epochs=2-epoch-0001.json",
    }
    assert {"top1_k1", "top1_k5"} <= results(run, "knn+k=1,5").keys()
    assert results(run, "linear+epochs=2-epoch-0001")["step"] == 3


def test_options_of_several_protocols_go_by_their_full_names(run: Path) -> None:
    words = ["linear,logistic", str(run), "--linear.seed", "1", "--logistic.seed=2", "--linear.epochs", "1"]
    assert main([*words, "--c", "1"]) == 0
    assert results(run, "linear+epochs=1+seed=1")["settings"]["seed"] == 1
    assert results(run, "logistic+c=1.0+seed=2")["settings"]["seed"] == 2


def test_the_same_images_elsewhere_are_the_run_s_own(run: Path, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    assert main(["knn", str(run), "--data", str(tmp_path / "moved")]) == 0
    assert results(run, "knn")["own_data"]


def test_images_that_were_added_since_are_other_data(run: Path, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "data/train/red/000.jpg", tmp_path / "data/train/red/new.jpg")
    assert main(["knn", str(run)]) == 0
    (name,) = (path.name for path in (run / "eval").iterdir())
    assert name.startswith("knn@data-")
    assert not results(run, name.removesuffix(".json"))["own_data"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (lambda run: ["linear", str(run), "--epochs", "-1"], "--epochs"),
        (lambda run: ["knn", str(run.parent / "data" / "train" / "red")], "train the run first"),
        (lambda run: ["knn", str(run), "--dtaa", "x"], "--data"),
        (lambda run: ["knnn", str(run)], "did you mean knn?"),
        (lambda run: ["knn,", str(run)], "no protocol ''"),
        (lambda run: [], "give protocols first, of knn, linear"),
        (lambda run: ["knn"], "run folder, one of its checkpoints, or --weights"),
        (lambda run: [str(run)], "give a protocol first, of knn, linear"),
        (lambda run: ["knn", "--run", str(run)], "unknown option --run: name the run without it"),
        (lambda run: ["knn", str(run), str(run / "absent")], "absent does not exist"),
        (lambda run: ["knn", str(run), "--epochs", "3"], "--epochs"),
        (lambda run: ["knn", str(run), "--k", str(1 << 63)], "--k must be below 2^63"),
        (lambda run: ["knn", str(run), "--temperature", "1e-9"], "--temperature must be at least 0.0125"),
        (lambda run: ["linear", str(run), "--seed", "-1"], "--seed must be at least 0, not -1"),
        (lambda run: ["logistic", str(run), "--seed", str(10**20)], "--seed must be below 2^63"),
        (lambda run: ["linear,logistic", str(run), "--seed", "3"], "write --linear.seed"),
    ],
)
def test_mistakes_end_with_status_2(
    run: Path,
    words: Callable[[Path], list[str]],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: main(words(run)))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not (run / "eval").exists()


def test_help_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert ", ".join(PROTOCOLS) in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["knn,linear", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "--linear.setting {auto,sgd,lars,simclr,inat18,places205,search}" in said
    assert "--knn.k" in said
