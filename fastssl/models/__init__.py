"""Encoders, heads, and the networks beside them."""

from fastssl.models.amdim_encoder import AMDIMEncoder
from fastssl.models.backbone import Backbone
from fastssl.models.dense_resnet import DenseResNet
from fastssl.models.resnets import ResNet, ResNet9
from fastssl.models.timm import Timm

__all__ = ["BACKBONES", "AMDIMEncoder", "Backbone", "DenseResNet", "ResNet", "ResNet9", "Timm"]

BACKBONES = (ResNet, ResNet9, DenseResNet, AMDIMEncoder, Timm)
