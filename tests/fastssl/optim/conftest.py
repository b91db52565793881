"""Triton without a GPU, for the optimizers' kernels."""

from tests.pipelines.conftest import interpreter as interpreter
