"""What only a GPU can show. These tests are run by ``make gpu``."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

from fastssl.models.batch_norm import group_batch_norms
from fastssl.optim import OPTIMIZERS, Optimizer
from fastssl.optim.optimizer import build_optimizer
from pipelines.batch import Batch
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.methods import CASES, Case, finish_step
from tests.helpers.waits import waits_are_errors

pytestmark = pytest.mark.gpu


def on_gpu(batch: Batch) -> Batch:
    return replace(
        batch,
        views=tuple(view.cuda() for view in batch.views),
        sample_ids=batch.sample_ids.cuda(),
        labels=None if batch.labels is None else batch.labels.cuda(),
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_no_step_waits_for_the_device(case: Case, optimizer_class: type[Optimizer]) -> None:
    method = tiny_method(case.config).cuda().to(memory_format=torch.channels_last)
    group_batch_norms(method, case.images_per_group, case.images)
    optimizer = build_optimizer(method.param_groups(), optimizer_class.Config(base_lr=0.1))
    views = case.config.num_views
    batches = [on_gpu(make_batch(step, size=case.images, views=views)) for step in range(20)]
    losses = []
    with ExitStack() as stack:
        for step, batch in enumerate(batches):
            if step == 2:  # the first steps allocate, and choose their kernels
                stack.enter_context(waits_are_errors())
            with torch.autocast("cuda", torch.bfloat16):
                loss, _ = method(batch, step)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            finish_step(method, step)
            losses.append(loss.detach())
    assert torch.stack(losses).isfinite().all()
