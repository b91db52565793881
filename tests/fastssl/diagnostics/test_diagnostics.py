"""What is asked of every diagnostic."""

import dataclasses
import functools
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fastssl.diagnostics import DIAGNOSTICS
from fastssl.diagnostics.__main__ import main, parse
from fastssl.diagnostics.diagnostic import find_diagnostic
from fastssl.methods import MoCo
from pipelines.command.errors import UserError, run_command
from tests.fastssl.evaluate.conftest import write_run
from tests.helpers.image_folder import write_colors
from tests.helpers.methods import narrow


@pytest.fixture(params=DIAGNOSTICS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(tmp_path: Path, own_cache: Path) -> Path:
    return write_run(tmp_path, narrow(MoCo, {"loss.num_negatives": 16}, hidden_dim=8, out_dim=4))


def runs_for(name: str, run: Path) -> list[str]:
    """As few as it takes."""
    return [str(run), str(run / "checkpoints" / "epoch-0001.pt")][: find_diagnostic(name).fewest_runs]


def results(run: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (run / "diagnostics").glob("*.json")}


def test_options_are_documented_and_a_result_has_all_that_decided_it(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for field in dataclasses.fields(find_diagnostic(name)):
        assert f"--{field.name.replace('_', '-')}" in said
    assert main([name, *runs_for(name, run)]) == 0
    ((file, found),) = results(run).items()
    assert file.startswith(name)
    assert found["diagnostic"] == name
    assert [each["checkpoint"] for each in found["runs"]] == ["last", "epoch-0001"][: len(found["runs"])]
    assert ("fingerprints" in found) == find_diagnostic(name).reads_images
    assert "torch" in found["versions"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [str(run / "diagnostics" / f"{file}.{kind}") for kind in ("json", "png")]
    with Image.open(io.BytesIO((run / "diagnostics" / f"{file}.png").read_bytes())) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 100
    # on other images and of another checkpoint: files of their own
    write_colors(tmp_path / "stl", 15, seed=7)
    _, *rest = runs_for(name, run)
    assert (
        main([name, str(run / "checkpoints" / "epoch-0001.pt"), *rest, "--data", str(tmp_path / "stl")]) == 0
    )
    (other,) = results(run).keys() - {file}
    assert f"{name}" in other
    assert "-epoch-0001" in other
    assert ("@stl-" in other) == find_diagnostic(name).reads_images


def test_mistakes_are_one_line(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistakes = [["--no-such-option", "1"], ["third", "fourth"]]
    if find_diagnostic(name).reads_images:
        mistakes.append(["--data", "absent"])
    for words in mistakes:
        with pytest.raises(SystemExit) as ended:
            run_command(functools.partial(main, [name, *runs_for(name, run), *words]))
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not (run / "diagnostics").exists()


def test_wrong_names_and_counts_are_one_line(run: Path) -> None:
    with pytest.raises(UserError, match=r"no diagnostic 'spectre': choose among .*; did you mean spectrum"):
        main(["spectre", str(run)])
    with pytest.raises(UserError, match="give a diagnostic first"):
        main([])
    with pytest.raises(UserError, match="cka takes 2 runs, not 1"):
        main(["cka", str(run)])
    with pytest.raises(UserError, match="norms takes 1 or 2 runs, not 3"):
        main(["norms", *[str(run)] * 3])
    with pytest.raises(UserError, match="does not exist"):
        main(["norms", str(run / "absent")])


def test_several_places_are_one_data_set(run: Path) -> None:
    _, options, _ = parse(["spectrum", str(run), "--data", "a", "--data=b"])
    assert options.data == "a + b"


def test_a_copy_of_a_run_is_the_same_encoder(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    assert (
        main(["cka", str(run), str(copy), "--layers", "blocks", "--images", "16", "--batch-size", "8"]) == 0
    )
    ((file, found),) = results(run).items()
    assert "layers=blocks" in file
    assert "with=copy_" in file
    names = ["stem", "layer1.0", "layer1.1", "layer2", "layer3.0", "layer3.1", "linear", "pooled"]
    assert found["layers"] == [names, names]
    assert list(found["curve"]) == names
    assert list(found["curve"].values()) == pytest.approx([1] * 8, abs=1e-6)
    assert found["pooled_cka"] == pytest.approx(1, abs=1e-9)
    assert found["settings"]["images"] == 16
