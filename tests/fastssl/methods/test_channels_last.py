"""Networks are channels-last from end to end: no convolution or pooling sees or makes an NCHW tensor."""

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.methods import CASES


def is_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim != 4 or tensor.is_contiguous(memory_format=torch.channels_last)


CUT_PIXELS = ("cmc", "vae")  # which split colors, or compare them: pixels are laid out otherwise there


@pytest.mark.parametrize("name", CASES)
def test_no_step_makes_an_nchw_copy(name: str) -> None:
    case = CASES[name]
    method = tiny_method(case.config)
    found: list[str] = []
    layers = 0

    def is_well(tensor: Tensor) -> bool:
        return is_channels_last(tensor) or (name in CUT_PIXELS and tensor.shape[1] <= 3)

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal layers
        layers += 1
        if not is_well(inputs[0]) or not is_well(output):
            found.append(str(module))
        if output.requires_grad:
            output.register_hook(lambda gradient: None if is_well(gradient) else found.append(str(module)))

    for module in method.modules():
        if isinstance(module, nn.Conv2d | nn.modules.batchnorm._BatchNorm | nn.MaxPool2d):
            module.register_forward_hook(look)
    loss, _ = method(make_batch(0, size=case.images, views=case.config.num_views), 0)
    loss.backward()
    assert layers > 8
    assert found == []
    assert all(
        is_channels_last(p) and is_channels_last(p.grad) for p in method.parameters() if p.grad is not None
    )
