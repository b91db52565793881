"""The four pretexts of Newell and Deng on factor-controlled scenes, the supervised baseline, and short runs.

Newell, Deng, "How useful is self-supervised pretraining for visual tasks?", 2020. Settings are those of its
public code. Its rates hold at the batch beside them, its "epochs" are rounds of at most 50,000 images
(single objects) or 10,000 (several): of 400,000 images an epoch here is 8 rounds, of 250,000 25. AMDIM's
rounds have half as many images, each twice. Views are in L*a*b*, normalized by the scenes' own numbers.
The data are the built-in ``scenes:single-1111`` and ``scenes:multi-1111``, all factors free; ``--data`` takes
another of the twelve combinations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from fastssl.config import Config, Experiment, Machine, Measured, Paper
from fastssl.methods import AMDIM, CMC, VAE, Method, Rotation, Supervised
from fastssl.models import AMDIMEncoder, Backbone, DenseResNet, ResNet9
from fastssl.optim import Adam
from fastssl.recipes.augmentations import SCENES_LAB, SMALL_IMAGES
from fastssl.recipes.variant import Recipe
from pipelines.ops import ChannelJitter, Cutout, Flip, Grayscale
from pipelines.views import ViewGroup, ViewSpec

_TITLE = "How useful is self-supervised pretraining for visual tasks? (2020)"
_WARMUP_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A network, and the images that it is trained on."""

    name: str
    backbone: Backbone.Config
    size: int
    """Side of the views, pixels."""
    rounds_per_epoch: float
    data: str
    place: str
    probes: bool
    """Images have one class each, which probes can tell."""


_RESNET9 = _Column(
    name="resnet9-scenes64",
    backbone=ResNet9.Config(),
    size=64,
    rounds_per_epoch=8,
    data="scenes:single-1111",
    place="supplement, figures 5, 6 and 8",
    probes=True,
)
_RESNET50 = replace(
    _RESNET9,
    name="resnet50-scenes64",
    backbone=DenseResNet.Config(),
    place="supplement, figures 7 and 9",
)
_DENSE = _Column(
    name="resnet50-scenes128",
    backbone=DenseResNet.Config(feature_dim=512, dilated=True),
    size=128,
    rounds_per_epoch=25,
    data="scenes:multi-1111",
    place="supplement, figures 12 and 15",
    probes=False,
)


def _views(method: Method.Config, spec: ViewSpec) -> tuple[ViewGroup, ...]:
    return (ViewGroup(spec=spec, num_views=method.num_views),)


def _cell(
    pretext: str,
    method: Method.Config,
    spec: ViewSpec,
    column: _Column,
    batch: int,
    peak: float,
    end: float,
    weight_decay: float,
    rounds: int,
) -> Config:
    """Config of a cell: a pretext on a network.

    Args:
        pretext: begin of the recipe's name.
        method: config of the pretext.
        spec: of its views, at any size.
        column: network and images.
        batch: images a step.
        peak, end: rates after the warm-up and at the end.
        weight_decay: of all parameters.
        rounds: length, the code's "epochs".
    """
    per_epoch = column.rounds_per_epoch * (2 if isinstance(method, AMDIM.Config) else 1)
    return Config(
        recipe=f"{pretext}-{column.name}",
        paper=Paper(title=_TITLE, place=column.place),
        experiment=Experiment(
            epochs=rounds / per_epoch,
            batch_size=batch,
            center_fraction=1.0,
            probes=column.probes and not isinstance(method, Supervised.Config),
            views=_views(method, replace(spec, size=column.size)),
            backbone=column.backbone,
            method=method,
            optimizer=Adam.Config(
                base_lr=peak * 256 / batch,
                weight_decay=weight_decay,
                warmup_epochs=_WARMUP_ROUNDS / per_epoch,
                schedule="linear",
                end_share=end / peak,
            ),
        ),
        machine=Machine(data=column.data, keep_every=10),
    )


_NO_CUTOUT = replace(SCENES_LAB, cutout=Cutout())
_NO_JITTER = replace(SCENES_LAB, channel_jitter=ChannelJitter())
_ONE_FLIP = replace(SCENES_LAB, flip=Flip())  # the method flips both views of an image or neither
_FEWER, _MORE = (CMC.Config(num_negatives=k, memory_momentum=0.4) for k in (4086, 16384))
_CELLS = (
    ("scratch", Supervised.Config(), SCENES_LAB, _RESNET9, 512, 1e-3, 1e-6, 1e-4, 600),
    ("scratch", Supervised.Config(), SCENES_LAB, _RESNET50, 384, 1e-3, 1e-6, 1e-4, 800),
    ("vae", VAE.Config(), _NO_CUTOUT, _RESNET9, 512, 1e-3, 1e-5, 1e-5, 800),
    ("vae", VAE.Config(), _NO_CUTOUT, _RESNET50, 384, 1e-3, 1e-5, 1e-5, 800),
    ("vae", VAE.Config(), _NO_CUTOUT, _DENSE, 96, 1e-3, 1e-5, 1e-5, 1200),
    ("rotation", Rotation.Config(), SCENES_LAB, _RESNET9, 512, 5e-4, 1e-5, 1e-4, 400),
    ("rotation", Rotation.Config(), SCENES_LAB, _RESNET50, 384, 5e-4, 1e-5, 1e-4, 400),
    ("rotation", Rotation.Config(), SCENES_LAB, _DENSE, 64, 5e-4, 1e-5, 1e-4, 900),
    ("cmc", CMC.Config(), _NO_JITTER, _RESNET9, 256, 1e-3, 1e-6, 1e-5, 800),
    ("cmc", _FEWER, _NO_JITTER, _RESNET50, 384, 5e-3, 1e-6, 1e-5, 1600),
    ("cmc", _MORE, SCENES_LAB, _DENSE, 64, 1e-3, 1e-6, 1e-5, 1600),
    ("amdim", AMDIM.Config(), _ONE_FLIP, _RESNET9, 384, 1e-3, 1e-6, 1e-5, 800),
    ("amdim", AMDIM.Config(), _ONE_FLIP, _RESNET50, 192, 1e-3, 1e-6, 1e-5, 1600),
    ("amdim", AMDIM.Config(), _ONE_FLIP, _DENSE, 32, 5e-4, 1e-6, 1e-5, 1600),
)


_NARROW = ResNet9.Config(width=0.25)
_UPRIGHT = "scenes:single-0100,images=2000"


def _tiny(
    pretext: str,
    method: Method.Config,
    spec: ViewSpec,
    epochs: float,
    backbone: Backbone.Config = _NARROW,
    data: str = "scenes",
) -> Config:
    """A run of minutes on built-in images: a narrow network, 32 pixels, batches of 64."""
    return Config(
        recipe=f"{pretext}-tiny",
        paper=Paper(title=_TITLE, place=f"{pretext}, in miniature"),
        experiment=Experiment(
            epochs=epochs,
            batch_size=64,
            center_fraction=1.0,
            probes=True,
            views=_views(method, replace(spec, size=32)),
            backbone=backbone,
            method=method,
            optimizer=Adam.Config(base_lr=4e-3, weight_decay=1e-5, warmup_epochs=0.4, schedule="linear"),
        ),
        machine=Machine(data=data, monitor_every=4),
    )


def _learned(config: Config, *, before: float, after: float, cost: str) -> Config:
    """A recipe with what its test measured: logistic top-1 on the 5,000 test images, of shapes never seen."""
    measured = Measured(
        results=(("logistic top-1", after), ("logistic top-1 of the untrained encoder", before)),
        command=f"pytest -s -m slow tests/fastssl/methods/test_pretexts_learn.py -k {config.recipe}",
        cost=cost,
        date="2026-11-27",
    )
    return replace(config, measured=measured)


def _cmc_tiny() -> Config:
    """CMC on 2,000 upright shapes without texture, whose colors tell nothing of their class.

    A row of a memory is noise until its image was seen, so that the first epoch teaches nothing: hence many
    epochs of few images. Of three seeds one gained nothing in 16 epochs; in these 40, logistic top-1 of 2,000
    test images was 0.747, 0.761 and 0.705 with seeds 0, 1 and 2, of the untrained encoders 0.433, 0.447 and
    0.504.
    """
    config = _tiny(
        "cmc",
        CMC.Config(num_negatives=512, memory_momentum=0.5),
        _NO_JITTER,
        epochs=40,
        backbone=ResNet9.Config(width=0.125),
        data=_UPRIGHT,
    )
    return _learned(
        config,
        before=0.443,
        after=0.762,
        cost="12 minutes, beside much other work; 190 core-seconds of training without probes",
    )


def _amdim_tiny() -> Config:
    """AMDIM with its own encoder on the same shapes, in gray.

    The paper's augmentation leaves colors as they are, and these tell the images apart: features of 310 steps
    in color told the classes worse than the untrained encoder's. In gray shapes have to.
    """
    config = _tiny(
        "amdim",
        AMDIM.Config(),
        replace(SMALL_IMAGES, grayscale=Grayscale(p=1.0)),
        epochs=20,
        backbone=AMDIMEncoder.Config().small(),
        data=_UPRIGHT,
    )
    return _learned(
        config,
        before=0.430,
        after=0.603,
        cost="10 minutes, beside much other work; 233 core-seconds of training without probes",
    )


RECIPES: tuple[Recipe, ...] = (
    *(partial(_cell, *cell) for cell in _CELLS),
    partial(_tiny, "vae", VAE.Config(output_size=8), _NO_CUTOUT, 3),
    partial(_tiny, "rotation", Rotation.Config(), SCENES_LAB, 6),
    _cmc_tiny,
    _amdim_tiny,
)
