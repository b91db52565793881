"""benchmarks.optimizer: its contenders do the same work, and its results are what was measured."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import optimizer
from benchmarks.optimizer import CONFIGS, CONTENDERS, Contender, counted, row_of
from benchmarks.report import markdown
from benchmarks.result import result_of
from benchmarks.turns import Taken, Turn
from fastssl.models.teacher import update_averages
from fastssl.optim.optimizer import build_optimizer, set_learning_rate, split_parameters

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.turns._LEAST_S", {"cuda": 0.0, "cpu": 0.0})
    monkeypatch.setattr(optimizer, "resnet50", network)


@pytest.mark.usefixtures("_quick")
def test_the_command_measures_what_runs_and_names_what_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "optimizer.json"
    assert optimizer.main(["--device", "cpu", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [(row["optimizer"], row["contender"], row["average"]) for row in rows] == [
        (*contender, average)
        for contender in CONTENDERS
        for average in (False, True)
        if contender[1] in ("foreach", "loop", "torch")
    ]
    for row in rows:
        low, high = row["us_quartiles"]
        assert 0 < low <= row["us_per_step"] <= high
        assert row["waits"] == (4 if row["contender"] == "loop" else 0)  # two norms of two weights
        assert row["parameters"] == 216 + 8 + 16 + 32 + 4
        assert row["kernels"] is row["share_of_bound"] is None
    printed = capsys.readouterr()
    for name in ("lars triton", "sgd triton", "sgd apex"):
        assert printed.err.count(f"{name} is left out: ") == 1
    assert "| lars | loop | cpu |" in printed.out


@pytest.mark.gpu
@pytest.mark.usefixtures("_quick")
def test_on_a_gpu_our_steps_are_one_or_two_kernels(tmp_path: Path) -> None:
    path = tmp_path / "optimizer.json"
    names = ["triton", "foreach", "loop", "torch"]
    assert optimizer.main(["--device", "cuda", "--contenders", *names, "--json", str(path)]) == 0
    for row in json.loads(path.read_text())["rows"]:
        assert row["share_of_bound"] > 0
        assert row["waits"] == (4 if row["contender"] == "loop" else 0)
        if row["contender"] == "triton":
            assert row["kernels"] == {"lars": 2, "sgd": 1}[row["optimizer"]]


@pytest.mark.parametrize("name", ["loop", "foreach"])
def test_contenders_take_the_same_step(name: str) -> None:
    expected, got = network(), network()
    before = copy.deepcopy(expected)
    teachers = [copy.deepcopy(expected), copy.deepcopy(expected)]
    for net in (expected, got):
        generator = torch.Generator().manual_seed(1)
        for parameter in net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    own = build_optimizer(split_parameters(expected), CONFIGS["lars"], "reference")
    set_learning_rate(own, 1e-3)
    step = optimizer.STEPS.get(name, optimizer._own)(got, "lars", name, [(teachers[0], got, 0.99)])
    for _ in range(3):
        own.step()
        update_averages([(teachers[1], expected, 0.99)])
        step()
    for one, other, old in zip(got.parameters(), expected.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
        assert not torch.equal(one, old)
    for one, other in zip(*(teacher.parameters() for teacher in teachers), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_waits_are_what_python_reads() -> None:
    value = torch.ones(3)
    turn = Turn("reads", CPU, lambda times: [value.sum().item() for _ in range(5 * times)], 1)
    assert counted(turn) == (None, 5)


@pytest.mark.gpu
def test_kernels_and_waits_of_a_gpu() -> None:
    value = torch.ones(3, device=GPU)

    def run(times: int) -> None:
        value.mul_(2).add_(1)
        value.sum().item()

    run(1)
    kernels, waits = counted(Turn("reads", GPU, run, 1))
    assert kernels == 3
    assert waits == 1


def test_a_row_and_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer, "counted", lambda turn: (2, 0))
    taken = [Taken(clock_s=clock * 1e-6, core_s=1.0) for clock in (320, 280, 300, 290, 900)]
    contenders = [Contender("lars", "triton", average, Turn("", GPU, print, 1)) for average in (False, True)]
    rows = [row_of(contender, taken, 20_000_000, 3000.0) for contender in contenders]
    assert [row.bytes_per_parameter for row in rows] == [28, 36]
    assert rows[0].us_per_step == 300
    assert rows[0].us_quartiles == (290, 320)
    assert rows[0].share_of_bound == 0.6222  # 560 MB at 3 GB/ms: 186.7 us
    table = markdown(result_of("optimizer", [], [vars(row) for row in rows]))
    assert table.endswith(
        "\n\n"
        "| optimizer | implementation | device | us | with a teacher, us | kernels | waits |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| lars | triton | cuda | 300 (62%) | 300 (80%) | 2, 2 | 0, 0 |\n"
        "\n"
        "20.0 million parameters; the GPU copies at 3,000 GB/s."
    )
