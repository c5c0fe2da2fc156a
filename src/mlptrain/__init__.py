"""Trains multilayer perceptrons from one YAML file, on the CPU, in NumPy, and proves that it is right."""

from importlib.metadata import version

__version__ = version("mlptrain")
