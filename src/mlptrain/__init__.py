"""mlptrain trains multilayer perceptrons from one YAML file, on the CPU, in NumPy, and proves that it is right."""

__version__ = "0.2.0"
