"""The step benchmark: the plain loop computes what the trainer's step does, and bytes are counted right."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks.contenders import plain_step
from benchmarks.profile_page import profile_page
from benchmarks.step import ByteCount, Options, measure
from fastssl.methods import BYOL, MoCo
from fastssl.methods.student_teacher import StudentTeacher
from fastssl.optim import SGD
from fastssl.optim.optimizer import build_optimizer
from fastssl.optim.train_step import TrainStep
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.methods import narrow

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", [MoCo, BYOL])
def test_the_plain_loop_is_the_same_computation(
    kind: type[StudentTeacher], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"teacher.momentum": 0.99} | ({"loss.num_negatives": 40} if kind is MoCo else {})
    method = tiny_method(narrow(kind, changes))
    start = copy.deepcopy(method)
    config = SGD.Config(weight_decay=1e-2)
    step = TrainStep(method, build_optimizer(method.param_groups(), config), device=CPU)
    batch = make_batch(0)
    step(iter([batch]), 0, 0.1)
    monkeypatch.setattr(plain_step, "copy", SimpleNamespace(deepcopy=lambda network: network))
    plain_step.plain_step(start, 0.1, 1e-2, None)(batch.each_view())
    for (name, one), (_, other) in zip(method.named_parameters(), start.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", [MoCo, BYOL])
def test_lightly_s_modules_train_an_encoder_of_their_own(kind: type[StudentTeacher]) -> None:
    lightly = pytest.importorskip("benchmarks.contenders.lightly", exc_type=ImportError)
    method = tiny_method(narrow(kind, {"loss.num_negatives": 40} if kind is MoCo else {}))
    before = copy.deepcopy(method.state_dict())
    step = lightly.lightly_step(method, 0.1, 1e-4, None)
    views = make_batch(0).each_view()
    for _ in range(2):
        step(views)
    encoder = {
        cell: content.cell_contents
        for cell, content in zip(step.__code__.co_freevars, step.__closure__, strict=True)
    }["followed"][0]
    pairs = zip(encoder.parameters(), method.encoder.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)
    assert all(torch.equal(method.state_dict()[name], before[name]) for name in before)


def test_bytes_of_operations() -> None:
    a, b = torch.ones(4, 8), torch.ones(8, 2)
    with ByteCount() as count:
        product = a @ b  # reads 32 + 16, writes 8
    assert count.bytes == 4 * (32 + 16 + 8)
    with ByteCount() as count:
        product.add_(1)  # reads and writes
        product.view(8).view(4, 2).t()  # moves nothing
        torch.empty(1000)
    assert count.bytes == 4 * (8 + 8)


def test_measured_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.turns._LEAST_S", {"cuda": 0.0, "cpu": 0.0})
    monkeypatch.setattr("benchmarks.turns.ROUNDS", 1)
    options = replace(Options(), recipes=("quickstart",), batch_size=8, precision="fp32")
    options = replace(options, variants=("fused-batch-norm",))
    ours, plain, *lightly, fused = measure(options, CPU)  # lightly where it is installed
    assert (ours.contender, plain.contender) == ("fastssl", "plain")
    assert [row.contender for row in lightly] in ([], ["lightly"])
    assert fused.contender == "fastssl fused-batch-norm"
    assert ours.images == plain.images == fused.images == 8
    for row in (ours, plain, *lightly, fused):
        assert row.images_per_s == pytest.approx(1e3 * 8 / row.ms_per_step, rel=1e-3, abs=0.05)  # rounded
        assert row.share_of_bound > 0
    assert ours.gb_per_step == plain.gb_per_step


def test_a_profile_names_what_took_the_time() -> None:
    a = torch.randn(300, 300)

    def run(times: int) -> None:
        for _ in range(times):
            a @ a

    page = profile_page("products", run, 3, CPU)
    assert page.startswith("products: ")
    assert "1.0 calls  aten::mm" in page
    assert len(page.splitlines()) <= 27
