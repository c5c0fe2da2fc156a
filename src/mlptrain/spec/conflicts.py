"""Which settings do not go together?

Here is every rule that involves more than one section of an experiment. A rule within one section, or within one
component, stays with that class. A rule yields the path of a setting and a message with the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlptrain.component import Conflict, did_you_mean
from mlptrain.data.encoders import encoder_kinds
from mlptrain.data.settings import Data
from mlptrain.data.split import remedy
from mlptrain.nn.layers import Dense
from mlptrain.nn.losses import Loss
from mlptrain.optim.schedules import Schedule
from mlptrain.remedies import setting
from mlptrain.spec.presets import Plain, Preset
from mlptrain.spec.sections import Decision, Ensemble, NetworkSpec, Training
from mlptrain.tasks import Task, tasks_for_loss


def conflicts(
    data: Data,
    network: NetworkSpec,
    task: type[Task] | None,
    loss: Loss | None,
    schedule: Schedule,
    ensemble: Ensemble,
    training: Training,
    preset: Preset,
    decision: Decision,
    two_sided: bool | None,
) -> Iterator[Conflict]:
    """All conflicts among the sections; without a task or a loss those that do not depend on it.

    `two_sided` says whether a positive class is predicted; None is not known yet.
    """
    yield from batches_of_one(network, training)
    yield from long_warmup(schedule, training)
    if loss is not None:
        yield from another_task(loss, task)
        yield from second_link(loss, network)
        yield from target_units(loss, data)
        yield from several_columns(loss, data)
    yield from unknown_encoders(data)
    yield from folds_and_validation(data, ensemble)
    yield from folds_and_order(data, ensemble)
    yield from unused_folds(data, ensemble, preset)
    yield from members_and_folds(data, ensemble)
    yield from unfit_blend(data, network, ensemble)
    yield from unfit_layers(network, ensemble)
    yield from unfit_decision(decision, two_sided, data.validates or ensemble.folds)
    if not ensemble.folds:
        yield from absent_monitor(data, training)


def batches_of_one(network: NetworkSpec, training: Training) -> Iterator[Conflict]:
    """Batch statistics of a single row."""
    if training.batch_size == 1 and network.uses_batch_statistics:
        yield (
            "training.batch_size",
            "is 1, but batch normalization needs at least two rows to have a variance; use normalization: layer",
        )


def long_warmup(schedule: Schedule, training: Training) -> Iterator[Conflict]:
    """A warm-up that never ends."""
    if schedule.warmup >= training.epochs:
        yield (
            "schedule.warmup",
            f"takes {schedule.warmup} epochs, but training.epochs is {training.epochs}; make it shorter",
        )


def another_task(loss: Loss, task: type[Task] | None) -> Iterator[Conflict]:
    """A loss that takes other targets than the task encodes; without a task, one for which there is none."""
    if task is not None and not task.accepts(loss):
        default = task.default_loss().name()
        yield "loss", f"{loss.name()} does not go with task: {task.name()}, whose loss is {default}"
    if task is None and not tasks_for_loss(loss):
        yield "loss", f"{loss.name()} goes with no task: its plugin must bring one for '{loss.target_kind}' targets"


def second_link(loss: Loss, network: NetworkSpec) -> Iterator[Conflict]:
    """An activation before a loss on raw scores."""
    if loss.has_link and not network.output_activation.is_identity:
        yield (
            "network.output_activation",
            f"cannot be {network.output_activation.name()}: loss {loss.name()} acts on "
            "raw scores and has its own link; remove the line",
        )


def target_units(loss: Loss, data: Data) -> Iterator[Conflict]:
    """A scaler for a target that has no units, or keeps them."""
    if data.scale_target is None:
        return
    if not loss.has_units:
        yield "data.scale_target", f"is for regression only, not for loss {loss.name()}; remove the line"
    elif not (loss.scalable or data.scale_target.is_identity):
        yield "data.scale_target", f"must be none for loss {loss.name()}, whose target keeps its own units"


def several_columns(loss: Loss, data: Data) -> Iterator[Conflict]:
    """Several outputs for each of several columns."""
    if loss.levels and len(data.target_names) > 1:
        yield "data.target", f"must be one column for loss {loss.name()}, which has an output for each quantile"


def folds_and_validation(data: Data, ensemble: Ensemble) -> Iterator[Conflict]:
    """Validation rows beside folds, each of which validates a member."""
    if not ensemble.folds:
        return
    if data.validation_path:
        yield "ensemble.rows", "is folds, but data.validation_path has the validation rows; use rows: shared"
    elif data.split.validation and "validation" in data.split.model_fields_set:
        yield (
            "ensemble.rows",
            "is folds, each of which validates a member; set data.split.validation to 0, or use rows: shared",
        )


def folds_and_order(data: Data, ensemble: Ensemble) -> Iterator[Conflict]:
    """Folds of rows in order of time."""
    if ensemble.folds and data.split.order is not None:
        yield (
            "ensemble.rows",
            "is folds, each of which is validated on rows from any time, but data.split.order holds out the last ones; "
            f"write {setting(ensemble={'rows': 'shared'})}",
        )


def unused_folds(data: Data, ensemble: Ensemble, preset: Preset) -> Iterator[Conflict]:
    """Settings of folds that nothing uses, unless the preset is still to choose them."""
    chosen = "rows" in ensemble.model_fields_set or isinstance(preset, Plain)
    if ensemble.folds or not chosen:
        return
    for name, value, default in (("folds", data.split.folds, None), ("repeats", data.split.repeats, 1)):
        if value != default:
            yield (
                f"data.split.{name}",
                f"is {value}, but the members of the ensemble share their rows; remove it, or give each member a fold, "
                f"as in {setting(ensemble={'rows': 'folds', 'members': wanted_members(data)})}",
            )


def members_and_folds(data: Data, ensemble: Ensemble) -> Iterator[Conflict]:
    """Folds that no member would leave out."""
    wanted = wanted_members(data)
    if ensemble.folds and ensemble.members < wanted:
        folds, repeats = data.split.folds or 2, data.split.repeats
        each = f"{folds} folds" + (f", drawn {repeats} times," if repeats > 1 else "")
        fewer = f", or {remedy(folds=ensemble.members)}" if ensemble.members > 1 and repeats == 1 else ""
        yield (
            "ensemble.members",
            f"is {ensemble.members}, but {each} need a member each; write "
            f"{setting(ensemble={'members': wanted})}{fewer}",
        )


def wanted_members(data: Data) -> int:
    """The fewest members that leave out every fold; of groups, which are not known yet, at least two."""
    folds = data.split.folds
    return (folds if isinstance(folds, int) else 2) * data.split.repeats


def unfit_blend(data: Data, network: NetworkSpec, ensemble: Ensemble) -> Iterator[Conflict]:
    """A blend with a linear model that cannot be chosen, or cannot be linear."""
    if ensemble.blend and not (data.validates or ensemble.folds):
        yield "ensemble.blend", "needs validation rows to choose the share: set data.split.validation above 0"
    if ensemble.blend and not network.output_activation.is_identity:
        yield "ensemble.blend", "is for raw scores; remove network.output_activation, or the blend"


def unfit_layers(network: NetworkSpec, ensemble: Ensemble) -> Iterator[Conflict]:
    """Layers that members cannot share."""
    if ensemble.weights == "shared" and any(
        isinstance(layer, Dense) and (layer.normalization is not None or layer.residual) for layer in network.blocks()
    ):
        yield "ensemble.weights", "shared is for layers without normalization and residual; use weights: separate"


def unfit_decision(decision: Decision, two_sided: bool | None, validates: bool) -> Iterator[Conflict]:
    """A threshold where there are no two classes, or that cannot be chosen."""
    name = "metric" if decision.metric is not None else "threshold"
    if (decision.metric or decision.threshold) and two_sided is False:
        yield (
            f"decision.{name}",
            "is for a target of two classes, or of one yes-no column; of more, the likeliest is predicted: remove it",
        )
    elif decision.metric and not validates:
        line = setting(data={"split": {"validation": 0.15}})
        number = setting(decision={"threshold": 0.5})
        yield (
            "decision.metric",
            f"needs validation rows to choose the threshold: {line}; or name a number instead: {number}",
        )


def unknown_encoders(data: Data) -> Iterator[Conflict]:
    """Unknown kinds in `data.encoders`, which the data section cannot know: every encoder imports it."""
    kinds = encoder_kinds()
    for column, word in data.encoders.items():
        if word not in kinds:
            hint = did_you_mean(word, kinds, f"the kinds are: {', '.join(kinds)}")
            yield f"data.encoders.{column}", f"unknown kind '{word}'; {hint}"


def absent_monitor(data: Data, training: Training) -> Iterator[Conflict]:
    """Early stopping by validation rows that are not held out."""
    stopping = training.early_stopping
    if stopping is None or "early_stopping" not in training.model_fields_set:
        return
    if stopping.monitor.startswith("validation_") and not data.validates:
        below = ".monitor" if "monitor" in stopping.model_fields_set else ""
        yield (
            f"training.early_stopping{below}",
            f"needs {stopping.monitor}, but no rows are held out: set data.split.validation above 0, "
            "or monitor train_loss",
        )
