"""Encoders, heads, and the networks beside them."""

from fastssl.models.backbone import Backbone
from fastssl.models.resnets import ResNet, ResNet9
from fastssl.models.timm import Timm

__all__ = ["BACKBONES", "Backbone", "ResNet", "ResNet9", "Timm"]

BACKBONES = (ResNet, ResNet9, Timm)
