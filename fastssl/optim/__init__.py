"""Optimizers, one file each, and learning-rate schedules."""

from fastssl.optim.adam import Adam
from fastssl.optim.lars import LARS
from fastssl.optim.optimizer import Optimizer
from fastssl.optim.sgd import SGD

__all__ = ["LARS", "OPTIMIZERS", "SGD", "Adam", "Optimizer"]

OPTIMIZERS = (SGD, LARS, Adam)
