"""timm's own small models, at 32 pixels."""

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from fastssl.config import Machine
from fastssl.models import Timm
from fastssl.models.backbone import build_backbone
from fastssl.models.batch_norm import group_batch_norms
from fastssl.recipes import find_recipe
from fastssl.train import train
from launchers.studies.build import shrunk
from pipelines.command.errors import UserError
from tests.helpers.runs import losses, weights, write_images

VIT = Timm.Config(name="test_vit", image_size=32)
CONVOLUTIONAL = ["test_resnet", "resnet10t", "test_efficientnet"]


def images(count: int = 4) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, 32, 32).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (VIT, {"img_size": 32}),
        (Timm.Config(name="vit_tiny_patch16_224", image_size=32), {"img_size": 32}),
        (Timm.Config(name="mobilenetv3_small_050"), {}),  # its features are wider than its last map
        *((Timm.Config(name=name), {}) for name in CONVOLUTIONAL),
    ],
)
def test_features_are_timms_own(config: Timm.Config, options: dict[str, Any]) -> None:
    ours = build_backbone(config).eval()
    theirs = timm.create_model(config.name, num_classes=0, **options).eval()
    theirs.load_state_dict({key.removeprefix("network."): value for key, value in ours.state_dict().items()})
    with torch.no_grad():
        expected = theirs(images())
        assert torch.equal(ours(images()), expected)
    assert expected.shape == (4, ours.feature_dim)


def test_a_transformers_stages_are_its_blocks_tokens_at_their_places() -> None:
    backbone = build_backbone(VIT).eval()
    with torch.no_grad():
        maps = backbone.stages(images())
    assert [stage.shape for stage in maps] == [(4, 64, 2, 2)] * 6


def test_drop_path_leaves_branches_out_while_training_only() -> None:
    backbone, plain, views = build_backbone(replace(VIT, drop_path=0.5)), build_backbone(VIT), images()
    assert not torch.equal(backbone(views), backbone(views))
    backbone.eval()
    assert torch.equal(backbone(views), backbone(views))
    assert torch.equal(plain(views), plain(views))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (Timm.Config(name="vit_tiny_patch16_244"), r"no model vit_tiny_patch16_244: did you mean vit_tiny_"),
        (Timm.Config(name="qqq"), r"no model qqq: timm\.list_models\(\)"),
        (Timm.Config(name="test_resnet", image_size=32), r"test_resnet .* leave out --backbone\.image-size"),
        (Timm.Config(name="vgg11", drop_path=0.1), r"vgg11 .* leave out --backbone\.drop-path"),
    ],
)
def test_what_timm_has_not_is_one_line(config: Timm.Config, words: str) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        build_backbone(config)
    assert "\n" not in str(refusal.value)


def test_without_timm_the_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"needs timm: pip install -e '\.\[timm\]'"):
        build_backbone(VIT)


def test_views_of_another_size_are_refused() -> None:
    vit = build_backbone(Timm.Config(name="vit_tiny_patch16_224", image_size=32))
    vit.check_size(32)
    with pytest.raises(UserError, match=r"views of 32 pixels, not 64: add --backbone\.image-size 64"):
        vit.check_size(64)
    for takes_any in (VIT, Timm.Config(name="test_resnet")):  # timm's test_vit interpolates its positions
        build_backbone(takes_any).check_size(64)
        assert build_backbone(takes_any)(torch.zeros(2, 3, 64, 64)).shape[0] == 2


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_batch_norms_in_groups_are_the_network_on_each_group(name: str) -> None:
    """timm's norms may hold an activation, which stays."""
    torch.manual_seed(0)
    backbone = build_backbone(Timm.Config(name=name)).double()
    expected = torch.cat([backbone(part.double()) for part in images(8).chunk(2)])
    before = list(backbone.state_dict())
    grouped = group_batch_norms(backbone, 4, 8)
    torch.testing.assert_close(grouped(images(8).double()), expected)
    assert list(grouped.state_dict()) == before


def test_norms_of_other_kinds_are_left_alone() -> None:
    backbone = build_backbone(VIT)
    kinds = [type(part) for part in backbone.modules()]
    assert nn.LayerNorm in {base for kind in kinds for base in kind.__mro__}
    group_batch_norms(backbone, None, 8)
    assert [type(part) for part in backbone.modules()] == kinds
    with pytest.raises(UserError, match=r"neither backbone nor heads have any: set --batch-norm-group None"):
        group_batch_norms(backbone, 4, 8)


def stop_after(steps: int) -> Callable[[bool, bool], tuple[bool, bool]]:
    """In place of ``any_rank``, which is asked before the first step and after each."""
    asked = itertools.count()
    return lambda stopping, late: (next(asked) >= steps, late)


@pytest.mark.parametrize("recipe", ["moco-v2-plus-imagenet", "byol-imagenet"])
@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_a_whole_run_and_the_same_stopped_and_resumed(
    recipe: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With drop path, whose draws a resumed run must repeat."""
    write_images(tmp_path / "data", 12, 0)
    config = shrunk(find_recipe(recipe))
    size = 32 if name == "test_vit" else None
    backbone = Timm.Config(name=name, image_size=size, drop_path=0.2)
    experiment = replace(config.experiment, epochs=3, batch_size=12, backbone=backbone, precision="fp32")

    def machine(out: str) -> Machine:
        where = {"data": str(tmp_path / "data"), "out": str(tmp_path / out)}
        return Machine(**where, threads=1, workers=1, log_every=1)  # type: ignore[arg-type]

    assert train(replace(config, experiment=experiment, machine=machine("whole"))) == 0
    monkeypatch.setattr("fastssl.train.any_rank", stop_after(4))
    assert train(replace(config, experiment=experiment, machine=machine("parts"))) != 0
    monkeypatch.undo()
    assert train(replace(config, experiment=experiment, machine=machine("parts"))) == 0
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(one[key], other[key]) for key in one)
