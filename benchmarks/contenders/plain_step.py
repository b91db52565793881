"""Training steps as a user would write them in plain torch: the same networks, losses and optimizer.

No keyed draws, no metrics, no accumulation, no other processes: fastssl's own step adds these.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.methods import BYOL, Method, MoCo

Views = tuple[Tensor, ...]
Loss = Callable[[Views], Tensor]


def plain_step(
    method: Method, rate: float, weight_decay: float, autocast: torch.dtype | None
) -> Callable[[Views], None]:
    """A step on two views, each [B, 3, S, S], with SGD of momentum 0.9.

    Args:
        method: a MoCo with a symmetric loss or a BYOL, on its device; its networks are copied.
        rate: learning rate, the same at each step.
        weight_decay: coefficient of the L2 penalty, the same for all parameters.
        autocast: dtype of forward and backward; None: float32.

    Raises:
        KeyError: there is no plain step of such a method.
    """
    student, teacher = copy.deepcopy(method.student), copy.deepcopy(method.get_submodule("teacher"))
    loss_of = _LOSSES[type(method)](method, student, teacher)
    device = next(student.parameters()).device
    optimizer = torch.optim.SGD(
        student.parameters(), rate, momentum=0.9, weight_decay=weight_decay, fused=device.type == "cuda"
    )
    followed = dict(student.named_parameters())
    pairs = [(target, followed[name]) for name, target in teacher.named_parameters()]

    def step(views: Views) -> None:
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            loss = loss_of(views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for target, source in pairs:
                target.lerp_(source, 0.01)

    return step


def _byol(method: Method, student: nn.Module, teacher: nn.Module) -> Loss:
    def loss(views: Views) -> Tensor:
        queries = [functional.normalize(student(view).float(), dim=1) for view in views]
        with torch.no_grad():
            keys = [functional.normalize(teacher(view).float(), dim=1) for view in views]
        first, second = (
            (2 - 2 * (q * k).sum(1)).mean() for q, k in zip(queries, reversed(keys), strict=True)
        )
        return first + second

    return loss


def _moco(method: Method, student: nn.Module, teacher: nn.Module) -> Loss:
    assert isinstance(method, MoCo)
    temperature = method.config.loss.temperature
    queue, start = method.queue.keys.clone(), 0

    def loss(views: Views) -> Tensor:
        nonlocal start
        queries = [functional.normalize(student(view).float(), dim=1) for view in views]
        with torch.no_grad():
            keys = [functional.normalize(teacher(view).float(), dim=1) for view in views]
        total = torch.zeros((), device=queue.device)
        with torch.autocast(queue.device.type, enabled=False):
            for query, key in zip(queries, reversed(keys), strict=True):
                own = (query * key).sum(1, keepdim=True)
                logits = torch.cat([own, query @ queue.clone().T], 1) / temperature
                total = total + functional.cross_entropy(logits, logits.new_zeros(len(logits)).long())
        count = min(len(keys[0]), len(queue) - start)
        queue[start : start + count] = keys[0][:count]
        start = (start + count) % len(queue)
        return total

    return loss


_LOSSES: dict[type[Method], Callable[[Method, nn.Module, nn.Module], Loss]] = {BYOL: _byol, MoCo: _moco}
