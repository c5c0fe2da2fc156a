"""`mlptrain` with the textbook network as the default, for tests that run it as a process of its own."""

from mlptrain.__main__ import main
from mlptrain.spec import presets

if __name__ == "__main__":
    presets.DEFAULT = presets.Plain()
    main()
