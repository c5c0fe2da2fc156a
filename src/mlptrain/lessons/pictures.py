"""Which chart does each picture of a lesson become?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mlptrain.lessons.catalogue import Picture
from mlptrain.lessons.study import Study
from mlptrain.nn.losses import MeanSquaredError
from mlptrain.report.boundary import Map, Plane, map_of, plane_of
from mlptrain.report.charts.base import Chart, Values
from mlptrain.report.charts.plane import Boundary, InputWeights, Paths
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
from mlptrain.training.blend import Predictor
from mlptrain.training.evaluation import ActivationWatch, predict_scores
from mlptrain.training.snapshots import Snapshot

MOMENTS = (0.0, 0.02, 0.15, 1.0)
"""When a border is drawn, as a share of the training: the start, early, on the way, the end."""
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
    run = studies[0].run
    plane = plane_of(run.plan, run.dataset.training)
    if plane is None:
        return None
    alone = len(studies) == 1
    maps = {
        f"{'' if alone else f'{study.lesson.number}: '}{when(snapshot)}": map_at(study, plane, snapshot)
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


def map_at(study: Study, plane: Plane, snapshot: Snapshot) -> Map:
    """What the network of a run says with the weights of a snapshot."""
    run = study.run
    predictor = Predictor(run.network, snapshot.parameters, snapshot.buffers)
    return map_of(run.plan, run.dataset.training, plane, predictor)


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
