"""encoder.safetensors and encoder.json: the encoder of a run by itself, as it ends.

Keys are those of the library that the network comes from, so that it loads them as they are:

    torchvision   torchvision's ResNets (18, 50, 101), without ``fc``; timm's of the same name take them too
    timm          timm's models, without the classifier
    fastssl       everything else (other widths, the 3x3 stem, ResNet-9, encoders of a user's file)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fastssl.config import Config
from fastssl.config_values import from_dict, to_dict
from fastssl.export.transform import Transform
from fastssl.models import Backbone, ResNet, Timm
from fastssl.run.versions import git_commit, versions
from pipelines.command.errors import UserError
from pipelines.files.atomic import atomic_file, write_json

NAME = "encoder.safetensors"
Layout = Literal["torchvision", "timm", "fastssl"]
_TIMM_PREFIX = "network."  # of ``fastssl.models.Timm``, which wraps timm's model
_PACKAGES = ("torch", "torchvision", "timm", "safetensors")


def layout_of(backbone: Backbone.Config) -> Layout:
    """The library whose model takes the weights as they are."""
    if isinstance(backbone, Timm.Config):
        return "timm"
    is_torchvisions = isinstance(backbone, ResNet.Config) and backbone.width == 1
    return "torchvision" if is_torchvisions and backbone.stem == "imagenet" else "fastssl"  # type: ignore[attr-defined]


def library_weights(encoder: nn.Module, backbone: Backbone.Config) -> dict[str, Tensor]:
    """The weights under the names of the library that the network comes from, on the CPU."""
    prefix = _TIMM_PREFIX if layout_of(backbone) == "timm" else ""
    return {
        name.removeprefix(prefix): value.detach().cpu().contiguous()
        for name, value in encoder.state_dict().items()
    }


def save_encoder(folder: Path, encoder: nn.Module, config: Config, step: int) -> list[str]:
    """Write encoder.safetensors and encoder.json of a run, whose encoder was trained for ``step`` steps.

    Returns:
        lines for the terminal: how to load it.

    Raises:
        OSError: the disk refuses.
    """
    experiment, layout = config.experiment, layout_of(config.experiment.backbone)
    weights = library_weights(encoder, experiment.backbone)
    path = folder / NAME
    with atomic_file(path) as file:
        file.write(safetensors.torch.save(weights, {"format": "pt"}))
    about = {
        "layout": layout,
        "architecture": experiment.backbone.label,
        "features": int(encoder.feature_dim),  # type: ignore[arg-type]
        "transform": Transform(experiment.evaluation_view).description(),
        "origin": {
            "run": str(folder.absolute()),
            "recipe": config.recipe,
            "method": experiment.method.kind,
            "step": step,
            "data": config.machine.data,
            "git_commit": git_commit(),
        },
        "versions": versions(_PACKAGES),
        "config": to_dict(config),
    }
    write_json(path.with_suffix(".json"), about)
    return [
        f"encoder: {path} ({experiment.backbone.label}, {about['features']} features). To use it:",
        "    import fastssl",
        f"    encoder = fastssl.load_encoder({str(folder)!r})",
        "    features = encoder(encoder.transform(image)[None])  # a PIL image, uint8 [H, W, 3] or a path",
        f"    features = fastssl.embed({str(folder)!r}, 'FOLDER_OF_IMAGES')",
        *_elsewhere(path, layout, experiment.backbone.label),
    ]


def is_encoder_file(path: Path) -> bool:
    """True for an encoder of a run by itself: encoder.safetensors, or one with the config beside it."""
    if path.name == NAME or path.suffix != ".safetensors":
        return path.name == NAME
    try:
        return "config" in json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def read_encoder(path: Path) -> tuple[dict[str, Tensor], Config]:
    """Weights under the names of ``fastssl.models``, and the config of the run.

    Args:
        path: encoder.safetensors, its encoder.json beside it.

    Raises:
        UserError: a file is missing or damaged.
    """
    beside = path.with_suffix(".json")
    try:
        weights = safetensors.torch.load(path.read_bytes())
        about = json.loads(beside.read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"cannot read {path} and {beside.name} beside it: {error}") from None
    if not isinstance(about, Mapping) or not isinstance(about.get("config"), dict):
        raise UserError(f"{beside} does not describe an encoder: give the one that the run wrote")
    config = from_dict(about["config"], str(beside), path.absolute().parent)
    prefix = _TIMM_PREFIX if about.get("layout") == "timm" else ""
    return {prefix + name: value for name, value in weights.items()}, config


def _elsewhere(path: Path, layout: Layout, label: str) -> list[str]:
    """The line that loads the weights without this package."""
    load = f"safetensors.torch.load_file({str(path)!r})"
    makers: dict[Layout, str] = {
        "torchvision": f"torchvision.models.{label}()",
        "timm": f"timm.create_model({label!r}, num_classes=0)",
    }
    if layout not in makers:
        return []
    return [f"    {layout}: model = {makers[layout]}; model.load_state_dict({load}, strict=False)"]
