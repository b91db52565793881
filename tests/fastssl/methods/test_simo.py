import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastssl.methods.info_nce import draw_keys, negative_columns
from fastssl.methods.method import RunFacts
from fastssl.methods.simo import SiMo
from fastssl.recipes.variant import with_changes
from pipelines.command.errors import UserError
from pipelines.keys import stable_id
from tests.helpers.batches import TINY, make_batch
from tests.helpers.figures_by_hand import embedding_figures_by_hand, query_gradient_norm
from tests.helpers.methods import finish_step, narrow

ALL = narrow(SiMo, {"loss.num_negatives": 8, "teacher.momentum": 0.9})
SAMPLED = narrow(SiMo, {"loss.num_negatives": 3, "teacher.momentum": 0.9})
CONFIGS = {
    "all": ALL,
    "sampled": SAMPLED,
    "plain": narrow(SiMo, {"loss.num_negatives": 7, "loss.eqco_alpha": None}),
    "shared": narrow(SiMo, {"loss.num_negatives": 3, "shared_negatives": True}),
    "no-momentum": narrow(SiMo, {"loss.num_negatives": 3, "teacher.momentum": 0}),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def simo(config: SiMo.Config = ALL, seed: int = 0) -> SiMo:
    torch.manual_seed(0)
    run = RunFacts(seed=seed, total_steps=20, num_classes=None)
    return SiMo(config, TINY, run).to(memory_format=torch.channels_last).train()


def sgd(method: SiMo) -> torch.optim.Optimizer:
    return torch.optim.SGD(method.student.parameters(), lr=0.05, momentum=0.9)


def copies(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.sqrt((rows**2).sum(1, keepdims=True)))


def loss_of(
    embeddings: np.ndarray, keys: np.ndarray, negatives: list[list[int]], config: SiMo.Config
) -> float:
    """Equation 10's mean over the student's embeddings [N, D] as they leave the head; keys alike."""
    q, k, tau, total = unit(embeddings), unit(keys), config.loss.temperature, 0.0
    for i, others in enumerate(negatives):
        scale = 1.0 if config.loss.eqco_alpha is None else config.loss.eqco_alpha / len(others)
        rivals = sum(math.exp(q[i] @ k[j] / tau) for j in others)
        positive = math.exp(q[i] @ k[i] / tau)
        total -= math.log(positive / (positive + scale * rivals))
    return total / len(q)


def gradient_bound(logits: np.ndarray, negatives: list[list[int]], config: SiMo.Config) -> float:
    """Theorem 2 of Zhu et al. (2020): the expectation of 2/tau (1 - s_0 / (s_0 + alpha mean_i s_i))."""
    total = 0.0
    for i, others in enumerate(negatives):
        s = np.exp(logits[i])
        alpha = config.loss.eqco_alpha or len(others)
        total += 2 / config.loss.temperature * (1 - s[i] / (s[i] + alpha * s[others].mean()))
    return total / len(negatives)


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


@every_config
def test_loss_and_its_gradient_are_equation_10s(config: SiMo.Config) -> None:
    method, step, rng = simo(config, seed=4), 3, np.random.default_rng(0)
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
    negatives = negatives_of(config, 8, 4, step)
    expected = loss_of(embeddings, keys, negatives, config)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.dtype == torch.float32
    for _ in range(5):
        direction = rng.normal(size=embeddings.shape)
        above, below = (loss_of(embeddings + h * direction, keys, negatives, config) for h in (1e-5, -1e-5))
        slope = (gradient.double().numpy() * direction).sum()
        assert slope == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-5)

    similarities = unit(embeddings) @ unit(keys).T
    positives = similarities.diagonal()
    rivals = np.array([similarities[i, others].max() for i, others in enumerate(negatives)])
    assert metrics["loss"].item() == loss.item()
    bound = math.log(1 + (config.loss.eqco_alpha or len(negatives[0]))) - expected
    assert metrics["mi_bound"].item() == pytest.approx(bound, abs=1e-4)
    tau = config.loss.temperature
    found = metrics["query_gradient_bound"].item()
    assert found == pytest.approx(gradient_bound(similarities / tau, negatives, config), rel=1e-5)
    assert found >= metrics["query_gradient_mean"].item()
    assert metrics["positive_similarity"].item() == pytest.approx(positives.mean(), abs=1e-5)
    assert metrics["accuracy"].item() == pytest.approx((positives > rivals).mean(), abs=1e-6)
    q, k = unit(embeddings), unit(keys)
    for name, value in embedding_figures_by_hand(q, k).items():
        assert metrics[name].item() == pytest.approx(value, rel=1e-4), name
    norms = [
        query_gradient_norm(
            q[i], k[i], k[others], config.loss.temperature, config.loss.eqco_alpha or len(others)
        )
        for i, others in enumerate(negatives)
    ]
    assert metrics["query_gradient_mean"].item() == pytest.approx(np.mean(norms), rel=1e-4)
    assert metrics["query_gradient_variance"].item() == pytest.approx(np.var(norms), rel=1e-3, abs=1e-5)
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())


def test_the_whole_batch_stands_for_its_other_images() -> None:
    """Table 2's K = 256 at a batch of 256: the other 255, and alpha / 255."""
    batch, fewer = make_batch(0), narrow(SiMo, {"loss.num_negatives": 7})
    assert simo(ALL)(batch, 0)[0].item() == simo(fewer)(batch, 0)[0].item()


def test_shuffling_gives_the_teacher_another_order_and_the_loss_the_old_one() -> None:
    plain, shuffling = simo(), simo(with_changes(ALL, {"teacher.shuffling_bn": True}))
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
    method = simo(narrow(SiMo, {"loss.num_negatives": 3, "teacher.momentum": beta}))
    student_before, teacher_before = copies(method.student), copies(method.teacher)
    assert all(torch.equal(a, b) for a, b in zip(student_before, teacher_before, strict=True))
    loss, _ = method(make_batch(0), 0)
    loss.backward()
    sgd(method).step()
    student, teacher = copies(method.student), copies(method.teacher)
    assert all(torch.equal(a, b) for a, b in zip(teacher, teacher_before, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(student, student_before, strict=True))
    finish_step(method, 0)
    for after, old, new in zip(method.teacher.parameters(), teacher_before, student, strict=True):
        expected = beta * old.double() + (1 - beta) * new.double()
        torch.testing.assert_close(after.double(), expected, rtol=1e-6, atol=1e-7)


def test_negatives_change_with_the_loaders_step_and_the_seed() -> None:
    """The loader counts the parts of a step, so that each draws its own."""
    batch = make_batch(0)

    def loss(seed: int, loader_step: int) -> float:
        value, _ = simo(SAMPLED, seed)(replace(batch, step=loader_step), 0)
        return value.item()

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(1, 0), loss(0, 1)}) == 3


def test_more_negatives_than_other_images_are_refused() -> None:
    too_many = simo(narrow(SiMo, {"loss.num_negatives": 9}))
    with pytest.raises(UserError, match=r"^simo: num_negatives 9 but the batch holds 8 images: [^\n]+$"):
        too_many(make_batch(0), 0)
