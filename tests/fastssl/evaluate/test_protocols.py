"""What is asked of every protocol."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cattrs
import pytest
import torch

from fastssl.evaluate import PROTOCOLS
from fastssl.evaluate.__main__ import main
from fastssl.evaluate.protocol import find_protocol
from fastssl.evaluate.result import result_name
from fastssl.evaluate.subject import open_subject
from fastssl.methods import MoCo, Supervised
from pipelines.command.errors import UserError, run_command
from tests.fastssl.evaluate.conftest import write_run
from tests.helpers import ROOT
from tests.helpers.image_folder import write_colors
from tests.helpers.methods import narrow

CHEAP = {  # an option that makes a protocol quick
    "linear": ("epochs", "1"),
    "logistic": ("c", "1.0"),
    "svm": ("costs", "1.0"),
    "finetune": ("epochs", "1"),
    "semisup": ("epochs", "1"),
    "longtail": ("epochs", "1"),
}


@pytest.fixture(params=PROTOCOLS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(name: str, tmp_path: Path, own_cache: Path) -> Path:
    """A run folder of an untrained encoder; with a classifier, where the protocol measures that."""
    moco = narrow(MoCo, {"loss.num_negatives": 16}, hidden_dim=8, out_dim=4)
    return write_run(tmp_path, Supervised.Config() if name == "classifier" else moco)


def results(run: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (run / "eval").iterdir()}


def test_all_options_are_named_documented_and_have_defaults(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = find_protocol(name)
    assert protocol.__dataclass_params__.frozen  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for field in dataclasses.fields(protocol()):
        assert f"--{name}.{field.name.replace('_', '-')}" in said


def test_a_result_has_all_that_decided_it(name: str, run: Path) -> None:
    assert main([name, str(run)]) == 0
    ((file, found),) = results(run).items()
    assert file == name == found["protocol"]
    assert (found["step"], found["checkpoint"], found["own_data"]) == (9, "last", True)
    assert (found["train_images"], found["test_images"]) == (36, 18)
    assert len(set(found["fingerprints"])) == 2
    assert found["settings"]["precision"] == "fp32"
    assert found["settings"]["view"]["size"] == 16
    assert found["cost"]["seconds"] >= 0
    assert "torch" in found["versions"]
    assert any(isinstance(value, float) and 0 <= value <= 1 for value in found.values())


def test_the_settings_of_a_result_make_a_protocol_that_measures_the_same(name: str, run: Path) -> None:
    protocol = find_protocol(name)
    main([name, str(run)])
    settings = results(run)[name]["settings"]
    names = {field.name for field in dataclasses.fields(protocol)}
    again = cattrs.structure({key: settings[key] for key in names}, protocol)
    options = json.loads(json.dumps(dataclasses.asdict(protocol())))
    assert cattrs.structure(options, protocol) == protocol()
    subject = open_subject(run)
    first, second = protocol().measure(subject), again.measure(subject)
    assert first == second
    for key, value in first.items():
        if key != "settings":
            assert results(run)[name][key] == value


def test_no_measurement_overwrites_another(name: str, run: Path, tmp_path: Path) -> None:
    for folder, images in (("a/stl", 15), ("b/stl", 20)):
        write_colors(tmp_path / folder, images, seed=images)
    last, kept = (str(run / "checkpoints" / name) for name in ("last.pt", "epoch-0001.pt"))
    option, value = CHEAP.get(name, ("", ""))
    words = [f"--{option}", value] if option else []
    for where in ([], ["--data", str(tmp_path / "a/stl")], ["--data", str(tmp_path / "b/stl")]):
        assert main([name, last, kept, *words, *where]) == 0
    found = results(run)
    assert len(found) == 6
    base = f"{name}+{option}={value}" if option else name
    assert {base, f"{base}-epoch-0001"} <= found.keys()
    assert sum(file.startswith(f"{base}@stl-") for file in found) == 2
    assert {(each["step"], each["train_images"] + each["test_images"]) for each in found.values()} == {
        (step, images) for step in (3, 9) for images in (54, 45, 60)
    }


def test_other_options_have_files_of_their_own(name: str, run: Path) -> None:
    protocol, subject = find_protocol(name), open_subject(run)
    values = {field.name: other_value(field.default) for field in dataclasses.fields(protocol)}
    others = [protocol(**{option: value}) for option, value in values.items() if value is not None]
    names = {str(result_name(name, options, subject)) for options in (protocol(), *others)}
    assert len(names) == 1 + len(others)


def other_value(value: Any) -> Any:
    """Another value of an option; None where none can be made up."""
    if isinstance(value, tuple):
        return value[:1]
    if isinstance(value, float):
        return value / 2
    return 7 if type(value) is int else None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "absent"], "no such folder"),
        (["--workers", "-1"], "--workers must be at least 0"),
        (["--no-such-option", "1"], "--no-such-option"),
    ],
)
def test_mistakes_are_one_line(
    name: str, words: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: main([name, str(run), *words]))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (run / "eval").exists()


def spoil_weights(run: Path) -> None:
    """Weights of a training that has diverged, in all parts of the last checkpoint."""
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    for part in ("encoder", "method"):
        state[part] = {
            key: torch.full_like(value, torch.nan) if value.is_floating_point() else value
            for key, value in state[part].items()
        }
    torch.save(state, run / "checkpoints" / "last.pt")


def remove_classes(run: Path) -> None:
    """Images without labels: all in one folder."""
    data = run.parent / "data" / "train"
    for number, path in enumerate(sorted(data.rglob("*.jpg"))):
        path.rename(data / f"{number}.jpg")
    for folder in [path for path in data.iterdir() if path.is_dir()]:
        folder.rmdir()


def add_a_class(run: Path) -> None:
    """A class that only the test images have."""
    test = run.parent / "data" / "test"
    shutil.copytree(test / "red", test / "zebra")


def empty_a_split(run: Path) -> None:
    """A split without images."""
    shutil.rmtree(run.parent / "data" / "train")
    (run.parent / "data" / "train").mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_weights, r"are not finite: the training has diverged; measure an earlier checkpoint"),
        (remove_classes, "has no classes, and this needs labels: put the images into one folder per class"),
        (add_a_class, "have a class that its training images lack, or number otherwise: zebra"),
        (empty_a_split, "no images in .*train"),
    ],
)
def test_unfit_runs_and_images_are_one_line(
    name: str, run: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(run)
    with pytest.raises(UserError, match=said) as caught:
        main([name, str(run)])
    assert "\n" not in str(caught.value)
    assert not (run / "eval").exists()


def test_weights_of_no_known_layout_are_one_line(name: str, tmp_path: Path) -> None:
    torch.save({"tower.weight": torch.zeros(3, 3)}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="layout") as caught:
        main([name, "--weights", str(tmp_path / "model.pt"), "--data", str(tmp_path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["knn"])
def test_a_broken_package_of_one_protocol_leaves_the_others(run: Path, tmp_path: Path) -> None:
    """scikit-learn fails on import, as a bad installation does."""
    (tmp_path / "broken" / "sklearn").mkdir(parents=True)
    (tmp_path / "broken" / "sklearn" / "__init__.py").write_text(
        "raise ImportError('libgomp is\\nnot there')\n"
    )
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path / "broken")!r})
from fastssl.evaluate.__main__ import main
from pipelines.command.errors import UserError
main(["knn,linear", {str(run)!r}, "--epochs", "1"])
try:
    main(["knn,logistic", {str(run)!r}, "--k", "1"])
except UserError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == (
        "the protocol logistic cannot be loaded (libgomp is not there): "
        "install what it needs, or choose another"
    )
    assert results(run).keys() == {"knn", "linear+epochs=1"}


def test_an_unknown_protocol_is_one_line() -> None:
    with pytest.raises(UserError, match=r"no protocol 'liner': choose among .*; did you mean linear"):
        find_protocol("liner")
