"""What only a GPU can show. These tests are run by ``make gpu``."""

from dataclasses import replace

import pytest
import torch

from fastssl.methods import (
    BYOLConfig,
    MethodConfig,
    MoCoConfig,
    MSBRegConfig,
    SimCLRConfig,
    SiMoConfig,
    SupervisedConfig,
    build_method,
)
from fastssl.models.batch_norm import group_batch_norms
from fastssl.optim.build import OptimizerConfig, build_optimizer
from pipelines.batch import Batch
from tests.helpers.batches import TINY, make_batch

pytestmark = pytest.mark.gpu
METHODS: dict[str, MethodConfig] = {
    "moco": MoCoConfig(num_negatives=20, hidden_dim=32, out_dim=16),
    "moco-few": MoCoConfig(num_negatives=5, eqco_alpha=64, hidden_dim=32, out_dim=16),
    "moco-shuffled": MoCoConfig(num_negatives=20, shuffling_bn=True, hidden_dim=32, out_dim=16),
    "simo": SiMoConfig(num_negatives=7, eqco_alpha=64, hidden_dim=32, out_dim=16),
    "simo-few": SiMoConfig(num_negatives=3, eqco_alpha=64, hidden_dim=32, out_dim=16),
    "simclr": SimCLRConfig(hidden_dim=32, out_dim=16),
    "simclr-few": SimCLRConfig(num_negatives=3, eqco_alpha=64, hidden_dim=32, out_dim=16),
    "byol": BYOLConfig(hidden_dim=32, out_dim=16, uniformity_weight=0.5),
    "msbreg": MSBRegConfig(hidden_dim=32, out_dim=16),
    "supervised": SupervisedConfig(),
}


def on_gpu(batch: Batch) -> Batch:
    return replace(
        batch,
        views=tuple(view.cuda() for view in batch.views),
        labels=None if batch.labels is None else batch.labels.cuda(),
    )


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("name", ["sgd", "lars"])
def test_no_step_waits_for_the_device(kind: str, name: str) -> None:
    config = METHODS[kind]
    method = build_method(config, TINY, seed=0, total_steps=10, num_classes=10)
    method = method.cuda().to(memory_format=torch.channels_last).train()
    group_batch_norms(method, 4 if kind == "moco-shuffled" else 8, 8)
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
