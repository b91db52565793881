"""The augmentations of the papers, as view specs.

Semantics are torchvision's on float images. The papers' own pipelines were Pillow's, whose views differ by
1.15 levels of 255 in the mean, for the most part by its blur (three box filters in place of a Gaussian).
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.ops import (
    CenterCrop,
    ChannelJitter,
    ChannelMean,
    ColorJitter,
    Cutout,
    GaussianBlur,
    Grayscale,
    PaddedCrop,
    RandomResizedCrop,
    Shift,
    Solarize,
)
from pipelines.views import ViewSpec

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)

# He, Fan, Wu, Xie, Girshick, "Momentum contrast for unsupervised visual representation learning" (2020),
# section 3.3, with the strengths of its authors' code, which turns gray before the jitter and not after it
MOCO_V1 = ViewSpec(
    crop=RandomResizedCrop(scale=(0.2, 1.0)),
    jitter=ColorJitter(p=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4),
    grayscale=Grayscale(p=0.2),
)

# Chen, Fan, Girshick, He, "Improved baselines with momentum contrastive learning" (2020)
MOCO_V2 = ViewSpec(
    crop=RandomResizedCrop(scale=(0.2, 1.0)),
    jitter=ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    grayscale=Grayscale(p=0.2),
    blur=GaussianBlur(p=0.5),
)

# Huang et al., "Revisiting the critical factors of augmentation-invariant representation learning" (2022),
# supplement table 5: BYOL's augmentation, made the same for both views
BYOL_SYMMETRIC = ViewSpec(
    crop=RandomResizedCrop(scale=(0.08, 1.0)),
    jitter=ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
    grayscale=Grayscale(p=0.2),
    blur=GaussianBlur(p=0.5),
    solarize=Solarize(p=0.2),
)

# Grill et al., "Bootstrap your own latent" (2020), appendix B: views 1 and 2 of each image
BYOL_FIRST = replace(BYOL_SYMMETRIC, blur=GaussianBlur(p=1.0), solarize=Solarize())
BYOL_SECOND = replace(BYOL_SYMMETRIC, blur=GaussianBlur(p=0.1))

# Chen, Kornblith, Norouzi, Hinton, "A simple framework for contrastive learning of visual representations"
# (2020), appendix A
SIMCLR = ViewSpec(
    crop=RandomResizedCrop(scale=(0.08, 1.0)),
    jitter=ColorJitter(p=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),
    grayscale=Grayscale(p=0.2),
    blur=GaussianBlur(p=0.5),
)

# Moon et al., "An embedding-dynamic approach to self-supervised learning" (2022), supplement table 1: BYOL's
# with a blur of every view; crop scale and blur sigma, which it does not give, are BYOL's
MSBREG = replace(BYOL_SYMMETRIC, blur=GaussianBlur(p=1.0))

# lightly's CIFAR-10 benchmark: SimCLR's, at half its color strength and without blur
SIMCLR_CIFAR10 = ViewSpec(
    size=32,
    crop=RandomResizedCrop(scale=(0.08, 1.0)),
    jitter=ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    grayscale=Grayscale(p=0.2),
    mean=CIFAR10_MEAN,
    std=CIFAR10_STD,
)

# The usual supervised training on ImageNet: crop and flip
SUPERVISED = ViewSpec(crop=RandomResizedCrop(scale=(0.08, 1.0)))

# The usual supervised training of CIFAR-10 (He et al. 2016, section 4.2): four pixels of padding, crop, flip
SUPERVISED_CIFAR10 = ViewSpec(size=32, crop=PaddedCrop(padding=4), mean=CIFAR10_MEAN, std=CIFAR10_STD)

# For a small network and little time on 32-pixel images: MoCo v2's colors, milder crops, no blur
SMALL_IMAGES = replace(MOCO_V2, size=32, crop=RandomResizedCrop(scale=(0.25, 1.0)), blur=GaussianBlur())

# Newell, Deng, "How useful is self-supervised pretraining for visual tasks?" (2020), by its authors' code: in
# L*a*b*, with the mean (38.44, 3.03, 4.77) and deviation (17.42, 9.41, 11.37) of its scenes; everything but
# the flip is done to the normalized view. Images are as large as the view
SCENES_LAB = ViewSpec(
    size=64,
    crop=CenterCrop(fraction=1.0),
    channel_jitter=ChannelJitter(p=0.8),
    channel_mean=ChannelMean(p=0.25),
    shift=Shift(padding=0.125),
    cutout=Cutout(size=0.25, inside=True),
    color_space="lab",
    mean=(38.44 / 100, (3.03 + 128) / 255, (4.77 + 128) / 255),
    std=(17.42 / 100, 9.41 / 255, 11.37 / 255),
)
