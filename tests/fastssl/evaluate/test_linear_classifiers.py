"""Classifiers trained at once are those that torch's Linear and SGD train one by one."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fastssl.evaluate.linear_classifiers import FeatureBatch, LinearClassifiers, SGDAtRates
from fastssl.optim.train_step import TrainStep

CPU = torch.device("cpu")
RATES = (0.01, 0.3, 5.0)
FEATURES = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(4, (40,), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("nesterov", "weight_decay"), [(False, 0.0), (True, 0.0), (False, 0.05)])
@pytest.mark.parametrize("masked", [False, True])
def test_each_is_the_one_that_torch_trains(nesterov: bool, weight_decay: float, masked: bool) -> None:
    together = LinearClassifiers(3, 6, 4, seed=0, device=CPU)
    used = torch.rand(3, 40, generator=torch.Generator().manual_seed(2)) < 0.7
    alone = [nn.Linear(6, 4) for _ in RATES]
    optimizers = []
    for classifier, start in zip(alone, together.weights, strict=True):
        classifier.weight.data, classifier.bias.data = start.detach().clone(), torch.zeros(4)
        optimizers.append(
            torch.optim.SGD(
                classifier.parameters(), 0.1, momentum=0.9, nesterov=nesterov, weight_decay=weight_decay
            )
        )
    ours = SGDAtRates(
        together.parameters(), torch.tensor(RATES), nesterov=nesterov, weight_decay=weight_decay
    )
    train_step = TrainStep(together, ours, device=CPU)
    batch = FeatureBatch(features=FEATURES, labels=LABELS, used=used if masked else None)
    for step in range(10):
        _, (metrics,) = train_step(iter([batch]), step, 0.9**step)
        for i, (classifier, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            optimizer.param_groups[0]["lr"] = RATES[i] * 0.9**step
            seen = used[i] if masked else slice(None)
            loss = functional.cross_entropy(classifier(FEATURES[seen]), LABELS[seen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert metrics["loss"][i] == pytest.approx(loss.item(), rel=1e-4)
    for i, classifier in enumerate(alone):
        torch.testing.assert_close(together.weights[i], classifier.weight, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.biases[i], classifier.bias, rtol=1e-4, atol=1e-5)


def test_one_that_diverges_leaves_the_others_alone() -> None:
    alone, beside = (LinearClassifiers(count, 6, 4, seed=0, device=CPU) for count in (1, 2))
    for classifiers, rates in ((alone, [0.1]), (beside, [0.1, 1e38])):
        used = torch.ones(len(rates), 40, dtype=torch.bool)
        optimizer = SGDAtRates(
            classifiers.parameters(), torch.tensor(rates), nesterov=False, weight_decay=0.0
        )
        train_step = TrainStep(classifiers, optimizer, device=CPU)
        batch = FeatureBatch(features=FEATURES, labels=LABELS, used=used)
        for step in range(20):
            _, (metrics,) = train_step(iter([batch]), step, 1.0)
    assert not metrics["loss"][1].isfinite()
    torch.testing.assert_close(beside.weights[0], alone.weights[0])


def test_scores_are_shares_of_right_answers_and_mean_losses() -> None:
    classifiers = LinearClassifiers(2, 2, 2, seed=0, device=CPU)
    with torch.no_grad():
        classifiers.weights.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]))
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    for block in (1, 3, 4):
        labels = torch.tensor([0, 1, 0, 1])
        accuracies, losses = classifiers.scores(features, labels, block)
        assert accuracies == [0.75, 0.25]
        expected = [
            functional.cross_entropy(logits, labels).item() for logits in classifiers.logits(features)
        ]
        assert losses == pytest.approx(expected, rel=1e-6)
