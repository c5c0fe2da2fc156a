"""mlptrain trains multilayer perceptrons from one YAML file, on the CPU, in NumPy, and proves that it is right.

    import mlptrain

    run = mlptrain.fit({"data": {"target": "species"}}, frame)   # or a YAML file, as for `mlptrain fit`
    run.model.predict(new_frame)
    model = mlptrain.load("runs/penguins-0001")

What each name does is said where it is defined, most of them in `mlptrain/api.py`. They are imported when they are
first used, so that the command line starts without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlptrain.api import Model as Model
    from mlptrain.api import Run as Run
    from mlptrain.api import Trainer as Trainer
    from mlptrain.api import fit as fit
    from mlptrain.api import load as load
    from mlptrain.api import train as train
    from mlptrain.data.settings import Categorical as Categorical
    from mlptrain.data.settings import Data as Data
    from mlptrain.data.settings import Numeric as Numeric
    from mlptrain.data.split import Split as Split
    from mlptrain.errors import CheckpointError as CheckpointError
    from mlptrain.errors import DataError as DataError
    from mlptrain.errors import Diverged as Diverged
    from mlptrain.errors import EnvironmentFault as EnvironmentFault
    from mlptrain.errors import MlptrainError as MlptrainError
    from mlptrain.errors import SpecError as SpecError
    from mlptrain.errors import UsageError as UsageError
    from mlptrain.notebook import LiveCurve as LiveCurve
    from mlptrain.optim.penalties import Penalty as Penalty
    from mlptrain.spec.experiment import Experiment as Experiment
    from mlptrain.spec.sections import Decision as Decision
    from mlptrain.spec.sections import EarlyStopping as EarlyStopping
    from mlptrain.spec.sections import Ensemble as Ensemble
    from mlptrain.spec.sections import NetworkSpec as NetworkSpec
    from mlptrain.spec.sections import Training as Training
    from mlptrain.training.events import Consumer as Consumer
    from mlptrain.training.events import EpochDone as EpochDone
    from mlptrain.training.events import StepDone as StepDone
    from mlptrain.training.events import TrainingDone as TrainingDone

__version__ = "0.2.0"

_HOMES = {
    "mlptrain.api": ("Model", "Run", "Trainer", "fit", "load", "train"),
    "mlptrain.errors": (
        "CheckpointError",
        "DataError",
        "Diverged",
        "EnvironmentFault",
        "MlptrainError",
        "SpecError",
        "UsageError",
    ),
    "mlptrain.data.settings": ("Categorical", "Data", "Numeric"),
    "mlptrain.data.split": ("Split",),
    "mlptrain.notebook": ("LiveCurve",),
    "mlptrain.optim.penalties": ("Penalty",),
    "mlptrain.spec.sections": ("Decision", "EarlyStopping", "Ensemble", "NetworkSpec", "Training"),
    "mlptrain.spec.experiment": ("Experiment",),
    "mlptrain.training.events": ("Consumer", "EpochDone", "StepDone", "TrainingDone"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["__version__", *sorted(_HOME)]  # the names of the imports above


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'mlptrain' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
