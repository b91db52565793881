"""What only a GPU can show. These tests are run by ``make gpu``."""

from dataclasses import replace

import pytest
import torch
from batches import TINY, make_batch

from fastssl.methods import BYOLConfig, MethodConfig, MoCoConfig, MsbregConfig, SupervisedConfig, build_method
from fastssl.optim import OptimizerConfig, build_optimizer
from pipelines.batch import Batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
METHODS: list[MethodConfig] = [
    MoCoConfig(num_negatives=20, hidden_dim=32, out_dim=16),
    BYOLConfig(hidden_dim=32, out_dim=16, uniformity_weight=0.5),
    MsbregConfig(hidden_dim=32, out_dim=16),
    SupervisedConfig(),
]


def on_gpu(batch: Batch) -> Batch:
    return replace(
        batch,
        views=tuple(view.cuda() for view in batch.views),
        labels=None if batch.labels is None else batch.labels.cuda(),
    )


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.kind)
@pytest.mark.parametrize("name", ["sgd", "lars"])
def test_no_step_waits_for_the_device(config: MethodConfig, name: str) -> None:
    method = build_method(config, TINY, seed=0, total_steps=10, num_classes=10, batch_size=8)
    method = method.cuda().to(memory_format=torch.channels_last).train()
    optimizer = build_optimizer(method, OptimizerConfig(name=name, base_lr=0.1))  # type: ignore[arg-type]
    batches = [on_gpu(make_batch(step, views=config.num_views)) for step in range(5)]
    losses = []
    try:
        for step, batch in enumerate(batches):
            if step == 2:  # the first steps allocate, and choose their kernels
                torch.cuda.set_sync_debug_mode("error")
            with torch.autocast("cuda", torch.bfloat16):
                loss, _ = method(batch, step)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            method.after_step(step)
            losses.append(loss.detach())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.stack(losses).isfinite().all()
