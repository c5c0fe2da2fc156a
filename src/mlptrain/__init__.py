"""mlptrain trains multilayer perceptrons from one YAML file, on the CPU, in NumPy, and proves that it is right."""


def __getattr__(name: str) -> str:
    """`__version__`, read on demand: reading it takes as long as the rest of `mlptrain --help`."""
    if name == "__version__":
        from importlib.metadata import version

        return version("mlptrain")
    raise AttributeError(f"module 'mlptrain' has no attribute '{name}'")
