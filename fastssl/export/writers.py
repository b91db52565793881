"""Writers of an encoder for other libraries, one function each, named in ``EXPORTS``."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import safetensors.torch
import torch

from fastssl.config_values import to_dict
from fastssl.export.encoder_file import layout_of, library_weights
from fastssl.export.load import OpenedEncoder
from fastssl.foreign.layouts import LAYOUTS
from fastssl.models import ResNet, Timm
from pipelines.command.errors import UserError
from pipelines.views import ViewSpec

Files = Mapping[str, bytes]
"""Content by name; "" is the file of the user's name itself, others lie in a folder of that name."""


def torchvision(opened: OpenedEncoder) -> tuple[Files, dict[str, Any]]:
    """A state_dict for torchvision's ResNets, without ``fc``."""
    depth = _plain_depth(opened, "torchvision")
    load = f"torchvision.models.resnet{depth}().load_state_dict(torch.load(FILE), strict=False)"
    return {"": _saved(library_weights(opened.encoder, opened.backbone))}, {"load": load}


def timm(opened: OpenedEncoder) -> tuple[Files, dict[str, Any]]:
    """A state_dict for timm's models, without the classifier."""
    if isinstance(opened.backbone, Timm.Config):
        name = opened.backbone.name
    else:
        name = f"resnet{_plain_depth(opened, 'timm')}"
    load = f"timm.create_model({name!r}, num_classes=0, checkpoint_path=FILE)"
    return {"": _saved(library_weights(opened.encoder, opened.backbone))}, {"load": load}


def detectron2(opened: OpenedEncoder) -> tuple[Files, dict[str, Any]]:
    """A pickle of arrays for detectron2's ResNets, by MoCo's map, and the config that goes with it."""
    config, network = _resnet(opened, "detectron2")
    spec, first = opened.encoder.transform.spec, network.layer1[0]
    model = {name: value.numpy() for name, value in _renamed(opened, "detectron2").items()}
    content = {"model": model, "__author__": "fastssl", "matching_heuristics": True}
    entries = {
        "MODEL.WEIGHTS": "FILE",
        "MODEL.PIXEL_MEAN": [round(255 * value, 3) for value in spec.mean],
        "MODEL.PIXEL_STD": [round(255 * value, 3) for value in spec.std],
        "MODEL.RESNETS.DEPTH": config.depth,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": network.conv1.out_channels,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": _out_channels(first),
        "MODEL.RESNETS.WIDTH_PER_GROUP": first.conv2.out_channels,
        "INPUT.FORMAT": "RGB",
    }
    return {"": pickle.dumps(content, protocol=4)}, {"detectron2": entries}


def transformers(opened: OpenedEncoder) -> tuple[Files, dict[str, Any]]:
    """A folder for ``transformers.ResNetModel``: weights, config and image processor."""
    _, network = _resnet(opened, "transformers")
    files = {
        "model.safetensors": safetensors.torch.save(_renamed(opened, "transformers"), {"format": "pt"}),
        "config.json": _text(_transformers_config(network)),
        "preprocessor_config.json": _text(_image_processor(opened.encoder.transform.spec)),
    }
    return files, {"load": "transformers.AutoModel.from_pretrained(FILE)"}


def safetensors_file(opened: OpenedEncoder) -> tuple[Files, dict[str, Any]]:
    """Any encoder, in torchvision's or timm's names where the network is theirs."""
    weights = library_weights(opened.encoder, opened.backbone)
    config = {} if opened.config is None else {"config": to_dict(opened.config)}
    more = {"layout": layout_of(opened.backbone), "load": "fastssl.load_encoder(FILE)", **config}
    return {"": safetensors.torch.save(weights, {"format": "pt"})}, more


def onnx(opened: OpenedEncoder) -> tuple[Files, dict[str, Any]]:
    """A graph of any encoder: ``views`` float32 [B, 3, S, S] to ``features`` [B, D].

    Raises:
        UserError: the package onnx, which torch's exporter needs, is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UserError("--to onnx needs the package onnx: pip install onnx")
    size, buffer = opened.encoder.transform.spec.size, io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's: its default is an exporter that needs more packages
        torch.onnx.export(
            opened.encoder,
            (torch.zeros(1, 3, size, size),),
            buffer,  # type: ignore[arg-type]
            input_names=["views"],
            output_names=["features"],
            dynamic_axes={"views": {0: "batch"}, "features": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    load = "onnxruntime.InferenceSession(FILE).run(None, {'views': views})"
    return {"": buffer.getvalue()}, {"load": load}


Writer = Callable[[OpenedEncoder], tuple[Files, dict[str, Any]]]

EXPORTS: Mapping[str, tuple[Writer, str]] = {
    "torchvision": (torchvision, ".pth"),
    "timm": (timm, ".pth"),
    "detectron2": (detectron2, ".pkl"),
    "transformers": (transformers, ""),
    "safetensors": (safetensors_file, ".safetensors"),
    "onnx": (onnx, ".onnx"),
}
"""For each library its writer and the suffix of its file, "" for a folder. A writer returns the files, and
entries for the description beside them: how to load them."""

if TYPE_CHECKING:
    Library = str
else:
    Library = Literal[tuple(EXPORTS)]


def _resnet(opened: OpenedEncoder, library: str) -> tuple[ResNet.Config, Any]:
    """Config and network of an encoder for a library whose ResNets have the 7x7 stem and take RGB.

    Raises:
        UserError: the encoder is none of these.
    """
    config, spec = opened.backbone, opened.encoder.transform.spec
    if not isinstance(config, ResNet.Config) or config.stem != "imagenet":
        stem = getattr(config, "stem", "imagenet")
        label = config.label + (f" with the {stem} stem" if stem != "imagenet" else "")
        raise UserError(
            f"{library} has no such network ({label}): a ResNet-18, 50 or 101 with the 7x7 stem "
            "fits there; --to safetensors takes every encoder"
        )
    if spec.color_space != "rgb":
        raise UserError(f"{library} shows its networks RGB, not {spec.color_space}: use --to safetensors")
    return config, opened.encoder


def _plain_depth(opened: OpenedEncoder, library: str) -> int:
    """Layers of an encoder for a library that builds ResNets by name, at their own width.

    Raises:
        UserError: the encoder is none.
    """
    config, _ = _resnet(opened, library)
    if config.width != 1:
        raise UserError(f"{library} names no {config.label}: --to safetensors takes every encoder")
    return config.depth


def _out_channels(block: Any) -> int:
    """Channels of the map behind a block of a ResNet."""
    return int(getattr(block, "conv3", block.conv2).out_channels)


def _renamed(opened: OpenedEncoder, layout: str) -> dict[str, torch.Tensor]:
    rename, weights = LAYOUTS[layout].rename, library_weights(opened.encoder, opened.backbone)
    return {rename(name): value for name, value in weights.items()}


def _saved(weights: dict[str, torch.Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def _text(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _transformers_config(network: Any) -> dict[str, Any]:
    """config.json of ``transformers.ResNetConfig``."""
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    return {
        "architectures": ["ResNetModel"],
        "model_type": "resnet",
        "num_channels": 3,
        "embedding_size": network.conv1.out_channels,
        "hidden_sizes": [_out_channels(stage[0]) for stage in stages],
        "depths": [len(stage) for stage in stages],
        "layer_type": "bottleneck" if hasattr(network.layer1[0], "conv3") else "basic",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    }


def _image_processor(spec: ViewSpec) -> dict[str, Any]:
    """preprocessor_config.json: the short side resized, bilinear, then the central square."""
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": round(spec.size / getattr(spec.crop, "fraction", 1.0))},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": spec.size, "width": spec.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }
