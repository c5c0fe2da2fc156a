"""Which chart does each picture of a lesson become?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.encoders import Number
from mlptrain.data.tables import Table
from mlptrain.dataset import Transforms, used_rows
from mlptrain.lessons.catalogue import Picture
from mlptrain.lessons.study import Study
from mlptrain.nn.losses import MeanSquaredError
from mlptrain.report.charts.base import Chart, Values
from mlptrain.report.charts.plane import Boundary, InputWeights, Paths, Plane
from mlptrain.report.charts.training import (
    CurvesOfRuns,
    DeadUnits,
    GradientsOfRuns,
    TrainingLosses,
    ValidationLosses,
    WeightsOfRuns,
)
from mlptrain.report.figures import Bowl
from mlptrain.runs.run import Run
from mlptrain.train.blend import Predictor
from mlptrain.train.evaluation import ActivationWatch, predict_scores
from mlptrain.train.snapshots import Snapshot

SIZE = 120
"""Points of a map along each axis."""
MOMENTS = (0.0, 0.02, 0.15, 1.0)
"""When a border is drawn, as a share of the training: the start, early, on the way, the end."""
MOST_VALUES = 4
"""Distinct values of a quantity that can be areas of a map, each point belonging to the nearest one."""
MOST_DEAD = 64
"""Epochs for which dead units are counted."""


@np.errstate(all="ignore")  # weights of a run that diverged
def charts_of(studies: Sequence[Study]) -> list[Chart]:
    """The charts of a lesson, as far as its runs, which --set may have changed, have something to draw."""
    found = [CHARTS[picture](studies) for picture in studies[0].lesson.chapter.pictures]
    return [chart for chart in found if chart is not None]


def losses(studies: Sequence[Study]) -> Chart | None:
    """The training losses over each other."""
    return curves(TrainingLosses, studies, {"train_loss": ""})


def validation_losses(studies: Sequence[Study]) -> Chart | None:
    """The validation losses over each other."""
    return curves(ValidationLosses, studies, {"validation_loss": ""})


def gradients(studies: Sequence[Study]) -> Chart | None:
    """The norms of the gradient of the first and of the last layer."""
    names = [name for name in studies[0].history if name.startswith("gradient_norm.layers.")]
    return curves(GradientsOfRuns, studies, {names[0]: " first layer", names[-1]: " output layer"}) if names else None


def curves(kind: type[CurvesOfRuns], studies: Sequence[Study], columns: dict[str, str]) -> Chart | None:
    """Some columns of all runs, each with its addition to the label of the run."""
    found = {
        f"{study.lesson.label}{addition}": (study.history["epoch"], study.history[column])
        for study in studies
        for column, addition in columns.items()
        if study.known(column)
    }
    return kind.joined(found) if found else None


def dead_units(studies: Sequence[Study]) -> Chart | None:
    """The share of dead units of each hidden layer, at the start and after some of the epochs."""
    found = {}
    for study in studies:
        some = spread(study.snapshots.kept, MOST_DEAD)
        shares = [dead_shares(study.run, each) for each in some]
        epochs: list[float | None] = [float(each.epochs) for each in some]
        for layer, values in enumerate(zip(*shares, strict=True)):
            found[f"{study.lesson.label} layer {layer}"] = (epochs, values)
    note = " Epoch 0 is the start; a unit is dead if it is zero on every training row."
    return DeadUnits.joined(found, note=note) if found else None


def dead_shares(run: Run, snapshot: Snapshot) -> list[float]:
    """The share of the units of each hidden layer, of the first member, that are zero on every training row."""
    network, part = run.network.alone, run.dataset.training
    watch = ActivationWatch(network)
    parameters, buffers = next(iter(run.network.layout.members_of(snapshot.parameters, snapshot.buffers)))
    predict_scores(network, parameters, buffers, part.features, part.rows, watch)
    return watch.dead_shares()


def spread(snapshots: Sequence[Snapshot], most: int) -> list[Snapshot]:
    """At most `most` of the snapshots, evenly, with both ends."""
    places = np.linspace(0, len(snapshots) - 1, min(most, len(snapshots))).round().astype(int)
    return [snapshots[i] for i in np.unique(places).tolist()]


def boundary(studies: Sequence[Study]) -> Chart | None:
    """What the networks say of the plane of two inputs, at some moments of the training."""
    plane = plane_of(studies[0].run)
    if plane is None:
        return None
    alone = len(studies) == 1
    maps = {
        f"{'' if alone else f'{study.lesson.number}: '}{when(snapshot)}": map_of(study.run, plane, snapshot)
        for study in studies
        for snapshot in moments(study.snapshots.kept)
    }
    return Boundary(plane, maps)


def moments(snapshots: Sequence[Snapshot]) -> Iterator[Snapshot]:
    """The snapshots at `MOMENTS`, each once."""
    places = [round(share * (len(snapshots) - 1)) for share in MOMENTS]
    yield from (snapshots[place] for place in dict.fromkeys(places))


def when(snapshot: Snapshot) -> str:
    """When a snapshot was taken."""
    return f"after {snapshot.epochs:,} epoch{'s' * (snapshot.epochs > 1)}" if snapshot.epochs else "start"


def plane_of(run: Run) -> Plane | None:
    """The plane of the two columns of a model, with its training rows; None if it has no such plane."""
    transforms, rows = run.plan.transforms, run.dataset.training.rows
    encoders = transforms.encoders
    if len(encoders) != 2 or any(not isinstance(each, Number) or each.width != 1 for each in encoders):
        return None
    table, _ = used_rows(run.plan.data, transforms, "train")
    names = (encoders[0].column, encoders[1].column)
    points = np.column_stack([np.asarray(table.columns[name], np.float64)[rows] for name in names])
    classes = classes_of(run)
    if not classes or not np.isfinite(points).all():
        return None
    return Plane.around(names, points, codes_of(run, run.dataset.training.truth()), classes)


def classes_of(run: Run) -> tuple[str, ...]:
    """The areas that a map can have: the classes, or the few values of a quantity; none if there are more."""
    task = run.plan.transforms.task
    if task.form == "class":
        return tuple(getattr(task, "classes", ()))
    values = distinct(run)
    return tuple(f"{task.columns[0]} = {value:g}" for value in values) if 1 < len(values) <= MOST_VALUES else ()


def distinct(run: Run) -> Values:
    """The distinct values of the target of the training rows."""
    return np.unique(np.asarray(run.dataset.training.truth(), np.float64))


def codes_of(run: Run, values: NDArray[np.generic]) -> NDArray[np.intp]:
    """The area of each true or predicted value."""
    if run.plan.transforms.task.form == "class":
        return values.astype(np.intp)
    away = np.abs(values.reshape(-1, 1).astype(np.float64) - distinct(run))
    return np.asarray(np.nan_to_num(away, nan=np.inf).argmin(axis=1))


def map_of(run: Run, plane: Plane, snapshot: Snapshot) -> NDArray[np.intp]:
    """(SIZE, SIZE): the area of each point of the plane, as the network says with the weights of a snapshot."""
    points, transforms = plane.grid(SIZE), run.plan.transforms
    features, _ = transforms.encode(grid_table(transforms, points), run.network.dtype)
    predictor = Predictor(run.network, snapshot.parameters, snapshot.buffers)
    scores = predictor.scores(features, np.arange(len(points)))
    predicted = transforms.task.outcome(run.network.loss, scores, np.zeros((len(points), 1))).predicted
    return codes_of(run, predicted).reshape(SIZE, SIZE)


def grid_table(transforms: Transforms, points: Values) -> Table:
    """A table of the points, whose columns are those of the model."""
    columns = {encoder.column: points[:, i] for i, encoder in enumerate(transforms.encoders)}
    return Table("grid", "", len(points), columns)


def paths(studies: Sequence[Study]) -> Chart | None:
    """The paths of linear models with two weights over the contour lines of their loss."""
    some = [study for study in studies if has_two_weights(study.run)]
    if not some:
        return None
    run = some[0].run
    part, names = run.dataset.training, run.plan.transforms.inputs
    x = np.empty((len(part), 2), run.network.dtype)
    part.features.gather(part.rows, x, part.features.byte_buffer(len(part)))
    target = np.asarray(part.target(), np.float64).reshape(len(part))
    found = {study.lesson.label: path_of(study) for study in some}
    return Paths((f"weight of {names[0]}", f"weight of {names[1]}"), Bowl.of(x.astype(np.float64), target), found)


def has_two_weights(run: Run) -> bool:
    """Whether the loss of a run is a bowl over two weights."""
    plain = run.network.sizes == (2, 1) and len(run.network.layers) == 1 and not run.network.layout.members
    return plain and isinstance(run.plan.loss, MeanSquaredError) and run.network.layout.parameter_size == 3


def path_of(study: Study) -> Values:
    """(snapshots, 2): the weights on the way."""
    layout = study.run.network.layout
    return np.stack(
        [layout.named_parameters(each.parameters)["layers.0.weight"].reshape(2) for each in study.snapshots.kept]
    ).astype(np.float64)


def weights(studies: Sequence[Study]) -> Chart:
    """Histograms of the weights of the first layer that are kept."""
    found = {study.lesson.label: first_weights(study).ravel() for study in studies}
    return WeightsOfRuns(found, "The weights of the first layer that are kept.")


def input_weights(studies: Sequence[Study]) -> Chart | None:
    """The sums of the absolute weights that leave each input."""
    found = {study.lesson.label: np.abs(first_weights(study)).sum(axis=1) for study in studies}
    names = studies[0].run.plan.transforms.inputs
    return InputWeights(names, found) if all(len(sums) == len(names) for sums in found.values()) else None


def first_weights(study: Study) -> Values:
    """(inputs, units): the weights of the first layer that are kept."""
    run = study.run
    first = next(tensor for tensor in run.network.layout.parameters if tensor.spec.decays)
    return np.asarray(first.view(run.state.best_parameters), np.float64).reshape(-1, first.shape[-1])


CHARTS: dict[Picture, Callable[[Sequence[Study]], Chart | None]] = {
    "losses": losses,
    "validation_losses": validation_losses,
    "gradients": gradients,
    "dead_units": dead_units,
    "boundary": boundary,
    "paths": paths,
    "weights": weights,
    "input_weights": input_weights,
}
