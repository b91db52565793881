import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from fastssl.config_values import from_dict
from fastssl.recipes import quickstart
from fastssl.run.log import MetricMeans, RunLog
from fastssl.run.metrics import read_metrics
from tests.helpers.memory_source import pixels_of


def tensors(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def steps_in(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def write_steps(folder: Path, first: int, last: int) -> None:
    with RunLog(folder, first - 1, 100) as log:
        for step in range(first, last + 1):
            log.metrics(step, step / 10, {"loss": step * 0.5})


def test_means_are_means_since_the_last_reading() -> None:
    means = MetricMeans()
    for value in (1.0, 2.0, 6.0):
        means.add(tensors(loss=value, accuracy=value / 10))
        first = means.peek()  # leaves them as they are
    assert means.read() == first == pytest.approx({"loss": 3.0, "accuracy": 0.3})
    means.add(tensors(loss=5.0))
    assert means.read() == {"loss": 5.0}


def test_means_keep_no_graph_and_no_half_precision() -> None:
    means = MetricMeans()
    weight = torch.tensor(1.0, requires_grad=True)
    for _ in range(1000):
        means.add({"loss": weight * 1.001})
        means.add({"loss": torch.tensor(1.0, dtype=torch.bfloat16)})
    state = means.state_dict()
    (total,) = state["sums"].values()  # type: ignore[attr-defined]
    assert not total.requires_grad
    assert total.dtype == torch.float32
    assert means.read()["loss"] == pytest.approx(1.0005, abs=1e-5)


def test_means_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    whole, first, second = MetricMeans(), MetricMeans(), MetricMeans()
    values = [0.1, 0.7, 1e-3, 12.5]
    for value in values:
        whole.add(tensors(loss=value))
    for value in values[:2]:
        first.add(tensors(loss=value))
    torch.save(first.state_dict(), tmp_path / "means.pt")
    second.load_state_dict(torch.load(tmp_path / "means.pt", weights_only=True), torch.device("cpu"))
    for value in values[2:]:
        second.add(tensors(loss=value))
    assert second.read() == whole.read()  # to the bit
    empty = MetricMeans()
    empty.load_state_dict(MetricMeans().state_dict(), torch.device("cpu"))
    empty.add(tensors(loss=2.0))
    assert empty.read() == {"loss": 2.0}


def test_a_saved_state_does_not_move_with_later_steps() -> None:
    means = MetricMeans()
    means.add(tensors(loss=1.0))
    state = means.state_dict()
    means.add(tensors(loss=5.0))
    again = MetricMeans()
    again.load_state_dict(state, torch.device("cpu"))
    assert again.read() == {"loss": 1.0}


def test_one_object_a_line(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 10) as log:
        log.metrics(2, 0.25, {"loss": 1.5, "images_per_s": 100.0, "data_wait": 0.5})
        assert steps_in(tmp_path) == [2]  # at once
        log.metrics(4, 0.5, {"knn_top1": 0.75})
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 2, "epoch": 0.25, "loss": 1.5, "images_per_s": 100.0, "data_wait": 0.5},
        {"step": 4, "epoch": 0.5, "knn_top1": 0.75},
    ]


def test_resuming_cuts_back_to_the_checkpoints_step(tmp_path: Path) -> None:
    write_steps(tmp_path, 1, 9)
    write_steps(tmp_path, 6, 7)  # from a checkpoint of step 5
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5, 6, 7]
    with RunLog(tmp_path, 0, 100):
        pass
    assert steps_in(tmp_path) == []


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    write_steps(tmp_path, 1, 3)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    for cut in (1, 5, 20):  # 1: only the line's end is missing, so that nothing is lost
        path.write_text(whole[:-cut])
        rows = read_metrics(path)
        assert [row["step"] for row in rows] == ([1, 2, 3] if cut == 1 else [1, 2])
        write_steps(tmp_path, 4, 4)
        assert steps_in(tmp_path) == [*(int(row["step"]) for row in rows), 4]


def test_the_end_of_a_file_is_read_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(10)) + "[1]\n")
    whole = [{"step": step} for step in range(10)]
    assert read_metrics(path) == read_metrics(path, 10_000) == whole
    assert read_metrics(path, 4 + 3 * 12) == whole[-3:]
    assert read_metrics(path, 4 + 3 * 12 + 5) == whole[-3:]  # five bytes of a line that begins before
    assert read_metrics(tmp_path / "absent.jsonl") == []


def test_tensorboard_holds_the_same_and_each_step_once(tmp_path: Path) -> None:
    write_steps(tmp_path, 1, 9)
    time.sleep(1.1)  # its files are told apart by the second
    write_steps(tmp_path, 6, 12)
    board = EventAccumulator(str(tmp_path / "tb"))
    board.Reload()
    points = [(event.step, event.value) for event in board.Scalars("loss")]
    assert points == [(step, step * 0.5) for step in range(1, 13)]


def test_tensorboard_has_config_hyperparameters_baselines_and_pictures(tmp_path: Path) -> None:
    config = quickstart()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "views.png")
    with RunLog(tmp_path, 0, 10) as log:
        log.describe(config)
        log.baselines(0, {"untrained": 0.25, "pixels": 0.5})
        log.picture(tmp_path / "views.png")
        log.metrics(5, 0.5, {"knn_top1": 0.75})
    time.sleep(1.1)  # its files are told apart by the second
    with RunLog(tmp_path, 0, 10):  # resumed before the first checkpoint
        pass
    board = EventAccumulator(str(tmp_path / "tb"), size_guidance={"images": 0})
    board.Reload()
    assert [(event.step, event.value) for event in board.Scalars("knn_top1_untrained")] == [(0, 0.25)]
    assert [(event.step, event.value) for event in board.Scalars("knn_top1_pixels")] == [(0, 0.5)]
    (picture,) = board.Images("views")
    np.testing.assert_array_equal(pixels_of(picture.encoded_image_string), pixels)
    (event,) = board.Tensors("config/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert from_dict(json.loads(text.removeprefix("```").removesuffix("```")), "TensorBoard") == config
    plugin = board.PluginTagToContent("hparams")
    started = HParamsPluginData.FromString(plugin["_hparams_/session_start_info"]).session_start_info
    assert started.hparams["optimizer.base_lr"].number_value == config.experiment.optimizer.base_lr
    assert started.hparams["method.kind"].string_value == "moco"
    assert started.hparams["data"].string_value == "scenes"
    metrics = HParamsPluginData.FromString(plugin["_hparams_/experiment"]).experiment.metric_infos
    assert {metric.name.tag for metric in metrics} == {"loss", "knn_top1"}
    (layout,) = board.Tensors("custom_scalars__config__")
    for name in ("knn_top1", "knn_top1_untrained", "knn_top1_pixels"):
        assert name.encode() in layout.tensor_proto.string_val[0]


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path, 0, 10) as log:
        log.say("[bold]hello[/bold] 3")
        log.metrics(5, 0.5, {"loss": 1.23456, "images_per_s": 1234.5, "data_wait": 0.25})
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "[bold]hello[/bold] 3",
        "5/10  epoch 0.5  loss 1.235  1234 img/s, data wait 25%",
    ]


def test_the_first_step_is_shown_at_once_and_kept_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLog(tmp_path, 4, 10) as log:
        assert log.wants_glance(5)  # the first of this process
        log.glance(5, 0.5, {"loss": 2.0})
        assert not log.wants_glance(6)
        log.metrics(6, 0.6, {"loss": 1.0, "images_per_s": 3.25, "data_wait": 0.5})
        assert log.last == {"loss": 1.0, "images_per_s": 3.25, "data_wait": 0.5}
    first, second = capsys.readouterr().err.splitlines()
    assert first == "5/10  epoch 0.5  loss 2.000"
    assert second.startswith("6/10  epoch 0.6  loss 1.000  3.2 img/s, data wait 50%  ETA ")
    assert steps_in(tmp_path) == [6]


def test_on_a_terminal_each_epoch_leaves_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with RunLog(tmp_path, 0, 10) as log:
        log.metrics(4, 0.8, {"loss": 1.5, "images_per_s": 200.0, "data_wait": 0.0})
        log.metrics(5, 1.0, {"knn_top1": 0.25})
        log.epoch(5, 1.0)
    assert "5/10  epoch 1.0  loss 1.500  knn_top1 0.250  200 img/s, data wait 0%\n" in said.getvalue()
