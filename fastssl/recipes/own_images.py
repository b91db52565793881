"""A recipe for a folder of one's own images."""

from __future__ import annotations

from fastssl.config import Config, Experiment, Machine
from fastssl.methods import MoCo
from fastssl.methods.info_nce import InfoNCE
from fastssl.models import ResNet
from fastssl.models.heads import Head
from fastssl.optim import SGD
from fastssl.recipes import augmentations
from pipelines.views import ViewGroup


def my_images() -> Config:
    """MoCo v2+ on one's own images: torchvision's ResNet-18 at 224 pixels, MoCo v2's augmentation.

    Batch and queue are lowered to fit a small data set (``fastssl.run.fit``). The batch norm on the
    projector's output keeps keys of all steps centered, as in the quickstart. Accuracies depend on the
    images.
    """
    return Config(
        recipe="my-images",
        experiment=Experiment(
            epochs=100,
            batch_size=256,
            fit_to_data=True,
            views=(ViewGroup(spec=augmentations.MOCO_V2, num_views=2),),
            backbone=ResNet.Config(depth=18),
            method=MoCo.Config(
                projector=Head.Config(hidden_dim=1024, out_dim=128, out_norm="batch"),
                predictor=Head.Config(hidden_dim=1024, out_dim=128),
                loss=InfoNCE.Config(temperature=0.2, num_negatives=4096),
            ),
            optimizer=SGD.Config(base_lr=0.12, weight_decay=1e-4, warmup_epochs=5),
        ),
        machine=Machine(data="images"),
    )


RECIPES = (my_images,)
