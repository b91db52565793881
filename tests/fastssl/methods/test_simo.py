from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastssl.methods.info_nce import draw_keys, negative_columns
from fastssl.methods.simo import SiMo
from fastssl.recipes.variant import with_changes
from pipelines.keys import stable_id
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.contrastive_by_hand import assert_logged, assert_slopes, mean_loss, unit
from tests.helpers.figures_by_hand import embedding_figures_by_hand
from tests.helpers.methods import finish_step, narrow

ALL = narrow(SiMo, {"loss.num_negatives": 8, "teacher.momentum": 0.9})
CONFIGS = {
    "all": ALL,
    "sampled": narrow(SiMo, {"loss.num_negatives": 3, "teacher.momentum": 0.9}),
    "plain": narrow(SiMo, {"loss.num_negatives": 7, "loss.eqco_alpha": None}),
    "shared": narrow(SiMo, {"loss.num_negatives": 3, "shared_negatives": True}),
    "no-momentum": narrow(SiMo, {"loss.num_negatives": 3, "teacher.momentum": 0}),
}


def copies(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def negatives_of(config: SiMo.Config, images: int, seed: int, step: int) -> list[list[int]]:
    """The other images whose keys each query is told from."""
    count = config.loss.num_negatives
    if count is None or count >= images - 1:
        return [[j for j in range(images) if j != i] for i in range(images)]
    keys, device = (seed, step, stable_id("simo/negatives")), torch.device("cpu")
    own = range(images)
    if config.shared_negatives:
        offsets = 1 + draw_keys(keys, candidates=images - 1, count=count, device=device)
        return [[(i + int(offset)) % images for offset in offsets] for i in own]
    drawn = negative_columns(keys, views=1, images=images, count=count, own=own, device=device)
    return drawn.tolist()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_loss_and_its_gradient_are_equation_10s(config: SiMo.Config) -> None:
    method, step = tiny_method(config, seed=4), 3
    assert isinstance(method, SiMo)
    for p in method.teacher.parameters():  # away from the student's
        p.add_(0.02 * torch.randn_like(p))
    seen: dict[nn.Module, list[Tensor]] = {method.student: [], method.teacher: []}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module is method.student:
            output.retain_grad()
        seen[module] += [*inputs, output]

    method.student.register_forward_hook(keep)
    method.teacher.register_forward_hook(keep)
    batch = make_batch(step)
    loss, metrics = method(batch, step)
    loss.backward()
    (first, output), (second, key_output) = seen.values()  # one direction: each network sees one view
    assert torch.equal(first, batch.each_view()[0])
    assert torch.equal(second, batch.each_view()[1])
    gradient = output.grad
    assert gradient is not None
    embeddings, keys = (tensor.detach().double().numpy() for tensor in (output, key_output))
    q, k, negatives = unit(embeddings), unit(keys), negatives_of(config, 8, 4, step)

    def loss_of(rows: np.ndarray) -> float:
        return mean_loss(unit(rows), k, k, negatives, config.loss)

    assert loss.dtype == torch.float32
    assert metrics["loss"].item() == loss.item()
    assert_slopes(gradient.double().numpy(), loss_of, embeddings)
    assert_logged(metrics, q, k, k, negatives, config.loss)
    for name, value in embedding_figures_by_hand(q, k).items():
        assert metrics[name].item() == pytest.approx(value, rel=1e-4), name


def test_the_whole_batch_stands_for_its_other_images() -> None:
    """Table 2's K = 256 at a batch of 256: the other 255, and alpha / 255."""
    batch, fewer = make_batch(0), narrow(SiMo, {"loss.num_negatives": 7})
    assert tiny_method(ALL)(batch, 0)[0].item() == tiny_method(fewer)(batch, 0)[0].item()


def test_shuffling_gives_the_teacher_another_order_and_the_loss_the_old_one() -> None:
    plain, shuffling = tiny_method(ALL), tiny_method(with_changes(ALL, {"teacher.shuffling_bn": True}))
    assert isinstance(shuffling, SiMo)
    seen: list[Tensor] = []
    shuffling.teacher.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    orders = []
    for loader_step in range(3):
        batch = replace(make_batch(0), step=loader_step)
        second = batch.each_view()[1]
        # with norms over the whole batch, the order matters to nothing but rounding
        assert shuffling(batch, 0)[0].item() == pytest.approx(plain(batch, 0)[0].item(), rel=1e-5)
        matches = (seen[-1][:, None] == second[None]).flatten(2).all(2)
        assert (matches.sum(0) == 1).all()
        orders.append(tuple(matches.int().argmax(1).tolist()))
    assert len({*orders, tuple(range(8))}) == 4  # each step its own, none as it was


@pytest.mark.parametrize("beta", [0.0, 0.999])
def test_teacher_moves_by_its_average_alone(beta: float) -> None:
    method = tiny_method(narrow(SiMo, {"loss.num_negatives": 3, "teacher.momentum": beta}))
    assert isinstance(method, SiMo)
    student_before, teacher_before = copies(method.student), copies(method.teacher)
    assert all(torch.equal(a, b) for a, b in zip(student_before, teacher_before, strict=True))
    loss, _ = method(make_batch(0), 0)
    loss.backward()
    torch.optim.SGD(method.student.parameters(), lr=0.05).step()
    student, teacher = copies(method.student), copies(method.teacher)
    assert all(torch.equal(a, b) for a, b in zip(teacher, teacher_before, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(student, student_before, strict=True))
    finish_step(method, 0)
    for after, old, new in zip(method.teacher.parameters(), teacher_before, student, strict=True):
        expected = beta * old.double() + (1 - beta) * new.double()
        torch.testing.assert_close(after.double(), expected, rtol=1e-6, atol=1e-7)
