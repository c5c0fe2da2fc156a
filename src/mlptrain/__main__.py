"""`python -m mlptrain` is the same as `mlptrain`."""

from mlptrain.cli import main

if __name__ == "__main__":
    main()
