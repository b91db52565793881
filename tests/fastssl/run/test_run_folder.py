import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fastssl import train
from fastssl.config import Config, Machine
from fastssl.config_values import read_config, to_dict
from fastssl.methods import Method, MoCo, Supervised, build_method
from fastssl.models import ResNet9
from fastssl.recipes import quickstart
from fastssl.run import checkpoint
from fastssl.run.folder import claim, load_encoder
from fastssl.run.summary import read_summary
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json
from pipelines.views import ViewGroup, ViewSpec
from tests.helpers.batches import NUM_CLASSES, make_batch
from tests.helpers.image_folder import write_colors
from tests.helpers.methods import narrow

DATA = {"images": 12, "fingerprint": "abc"}


def leave_checkpoint(folder: Path) -> None:
    """Make a folder one that holds something: others may not take it over."""
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.pt").touch()


def small_config(**fields: Any) -> Config:
    experiment = replace(
        quickstart().experiment,
        backbone=ResNet9.Config(width=0.0625),
        method=narrow(MoCo, {"loss.num_negatives": 16}, hidden_dim=8, out_dim=4),
        batch_size=4,
    )
    return replace(quickstart(), experiment=replace(experiment, **fields))


def test_an_empty_folder_is_claimed_and_can_be_read_back(tmp_path: Path) -> None:
    config = small_config()
    claim(tmp_path, config, DATA)
    assert read_config(tmp_path / "config.json") == config
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["data"] == DATA
    assert about["versions"]["python"].startswith("3.")
    assert about["versions"]["torch"] == torch.__version__.split("+")[0]
    assert about["command"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]


def test_the_same_run_may_come_back_on_another_machine(tmp_path: Path) -> None:
    config = small_config()
    claim(tmp_path, config, DATA)
    before = (tmp_path / "config.json").read_bytes()
    claim(tmp_path, replace(config, machine=Machine(workers=1, threads=3, data="moved/here")), DATA)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_lock_and_what_a_killed_process_left_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / ".config.json.123.part").write_text('{"conf')
    claim(tmp_path, small_config(), DATA)
    assert {entry.name for entry in tmp_path.iterdir()} == {"lock", "config.json"}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".last.pt.123.part").write_bytes(b"half")
    (tmp_path / "checkpoints" / "last.pt").write_bytes(b"whole")
    (tmp_path / ".summary.json.123.part").write_bytes(b"half")
    claim(tmp_path, small_config(), DATA)
    assert {entry.name for entry in tmp_path.iterdir()} == {"lock", "config.json", "checkpoints"}
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["last.pt"]


def test_another_config_is_refused_and_the_fields_named(tmp_path: Path) -> None:
    config = small_config()
    claim(tmp_path, config, DATA)
    leave_checkpoint(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    other = small_config(seed=7, optimizer=replace(config.experiment.optimizer, base_lr=0.5))
    with pytest.raises(UserError) as refusal:
        claim(tmp_path, other, DATA)
    message = str(refusal.value)
    assert "\n" not in message
    assert "seed (0 became 7)" in message
    assert "optimizer.base_lr (0.12 became 0.5)" in message
    assert "temperature" not in message
    assert "--out" in message
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize("now", [{"images": 13, "fingerprint": "abc"}, {"images": 12, "fingerprint": "abd"}])
def test_other_images_are_refused(tmp_path: Path, now: dict[str, Any]) -> None:
    claim(tmp_path, small_config(), DATA)
    leave_checkpoint(tmp_path)
    with pytest.raises(UserError, match="other images") as refusal:
        claim(tmp_path, small_config(), now)
    assert f"{now['images']} now" in str(refusal.value)


def test_a_folder_without_a_checkpoint_may_be_taken_over(tmp_path: Path) -> None:
    claim(tmp_path, small_config(), DATA)
    for name in ("summary.json", "metrics.jsonl", "views.png", "bad_images.txt", "notes.txt"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "tb").mkdir()
    claim(tmp_path, small_config(seed=7), {**DATA, "images": 13})
    assert read_config(tmp_path / "config.json").experiment.seed == 7
    assert {entry.name for entry in tmp_path.iterdir()} == {"config.json", "notes.txt"}


@pytest.mark.parametrize("kept", ["checkpoints/epoch-0010.pt", "eval/knn.json"])
def test_a_folder_that_holds_a_result_is_kept(tmp_path: Path, kept: str) -> None:
    claim(tmp_path, small_config(), DATA)
    (tmp_path / kept).parent.mkdir()
    (tmp_path / kept).touch()
    with pytest.raises(UserError, match="seed"):
        claim(tmp_path, small_config(seed=7), DATA)
    assert (tmp_path / kept).exists()


def test_more_epochs_of_a_finished_run_are_refused_with_the_way_out(tmp_path: Path) -> None:
    claim(tmp_path, small_config(), DATA)
    write_json(tmp_path / "summary.json", {"status": "finished"})
    with pytest.raises(UserError, match=r"epochs \(7 became 9\).*--init \S+ --out NEW$"):
        claim(tmp_path, small_config(epochs=9), DATA)


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / ".backup.part").write_text("precious")
    with pytest.raises(UserError, match="not empty and not a run folder"):
        claim(tmp_path, small_config(), DATA)
    assert {entry.name for entry in tmp_path.iterdir()} == {"thesis.tex", ".backup.part"}


def test_summaries_read_back_and_damaged_ones_say_so(tmp_path: Path) -> None:
    assert read_summary(tmp_path) == {}
    write_json(tmp_path / "summary.json", {"status": "finished", "knn_top1": None, "name": "ü"})
    assert read_summary(tmp_path) == {"status": "finished", "knn_top1": None, "name": "ü"}
    (tmp_path / "summary.json").write_text('{"status"')
    with pytest.raises(UserError, match=r"summary.json is damaged[^\n]*$"):
        read_summary(tmp_path)


def save_run(folder: Path, config: Config, name: str = "last.pt", step: int = 5) -> torch.nn.Module:
    """A checkpoint as the trainer writes it, with statistics of its own; the method that it holds."""
    method = build_method(
        config.experiment.method,
        config.experiment.backbone,
        seed=step,
        total_steps=10,
        num_classes=NUM_CLASSES,
    )
    method.train()(make_batch(0, views=config.experiment.method.num_views), 0)  # moves the statistics
    state = {"config": to_dict(config), "step": step, "encoder": method.encoder.state_dict()}
    checkpoint.save(folder / "checkpoints" / name, state)
    return method


@pytest.mark.parametrize(
    "method", [narrow(MoCo, {"loss.num_negatives": 16}, hidden_dim=8, out_dim=4), Supervised.Config()]
)
def test_an_encoder_loads_from_a_folder_and_from_a_file(tmp_path: Path, method: Method.Config) -> None:
    config = small_config(method=method, views=(ViewGroup(spec=ViewSpec(), num_views=method.num_views),))
    views = torch.randn(2, 3, 16, 16)
    last = save_run(tmp_path, config, "last.pt", step=9)
    early = save_run(tmp_path, config, "epoch-0001.pt", step=3)
    for where, trained, steps in (
        (tmp_path, last, 9),
        (tmp_path / "checkpoints" / "last.pt", last, 9),
        (tmp_path / "checkpoints" / "epoch-0001.pt", early, 3),
    ):
        found, encoder, step = load_encoder(where)
        assert found == config
        assert step == steps
        assert not encoder.training
        assert torch.equal(encoder(views), trained.eval().encoder(views))  # type: ignore[operator]


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    save_run(tmp_path / "run", small_config())
    checkpoint.save(tmp_path / "foreign.pt", {"state_dict": {}, "epoch": 3})
    (tmp_path / "garbage.pt").write_bytes(b"garbage\nlines")
    torch.save([1, 2], tmp_path / "list.pt")
    older = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    older["config"]["version"] = 99
    checkpoint.save(tmp_path / "older.pt", older)
    for name, words in (
        ("absent", "does not exist"),
        ("foreign.pt", "not a checkpoint of this fastssl"),
        ("garbage.pt", "not a checkpoint of this fastssl"),
        ("list.pt", "not a checkpoint of this fastssl"),
        ("older.pt", "version 99"),
        (".", "train the run first"),
    ):
        with pytest.raises(UserError, match=words) as refusal:
            load_encoder(tmp_path / name)
        assert str(tmp_path) in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("own_cache")
def test_a_start_that_is_refused_claims_no_folder(tmp_path: Path) -> None:
    """Else the same command with the mistake mended would be refused as another run."""
    write_colors(tmp_path / "data", 4)
    for options, words in (
        (["simo-k16-a256-imagenet"], "num_negatives"),  # of batches of 8
        (["supervised-cifar10", "--data", str(tmp_path / "data" / "red"), "--batch-size", "2"], "classes"),
        (["quickstart", "--device", "cuda"], "cuda"),
    ):
        if "cuda" in options and torch.cuda.is_available():
            continue
        defaults = ["--batch-size", "8", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
        with pytest.raises(UserError, match=words):
            train.main([options[0], *defaults, *options[1:]])
        assert not (tmp_path / "run").exists()
