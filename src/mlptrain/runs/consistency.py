"""Can what a model or a checkpoint says of itself be true?

A digest shows that a file is whole, not that a run wrote it. What no run could have written is refused with the field
that says so, instead of a failure later, or of training that never ends.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlptrain.errors import CheckpointError
from mlptrain.spec.plan import Plan
from mlptrain.training.batches import Batches, MemberBatches
from mlptrain.training.state import Progress

Contradiction = tuple[str, str]
"""A field, and what is wrong with it."""


def refuse_contradictions(path: str, found: Iterator[Contradiction]) -> None:
    """Raise a `CheckpointError` for the first of the contradictions `found` in the file at `path`."""
    for field, wrong in found:
        raise CheckpointError(f"{path}: {field} {wrong}; no run has written this")


def in_plan(plan: Plan, threads: int, share: float | None) -> Iterator[Contradiction]:
    """What in `plan` contradicts itself, or the `threads` and the `share` of the network beside it."""
    task = plan.transforms.task
    if plan.threads != threads:
        yield "plan.threads", f"is {plan.threads}, but the environment had {threads} threads"
    if plan.task not in (None, task.name()):
        yield "plan.task", f"is {plan.task}, but the target was read for {task.name()}"
    if not task.accepts(plan.loss):
        yield "plan.loss", f"is {plan.loss.name()}, which is not for {task.name()}"
    if share is not None and not plan.ensemble.blend:
        yield "share", "is there, but the experiment asks for no linear model beside the network"


def in_progress(progress: Progress, plan: Plan) -> Iterator[Contradiction]:
    """What in the `progress` of a run contradicts itself or its `plan`."""
    yield from in_counters(progress, plan)
    yield from in_sums(progress, plan)
    yield from in_best(progress, plan)
    yield from in_tries(progress, plan)
    if not plan.schedule.start().keys() <= progress.schedule.keys():
        yield "progress.schedule", f"lacks the state of schedule {plan.schedule.name()}"


def in_counters(progress: Progress, plan: Plan) -> Iterator[Contradiction]:
    """Epochs, steps and the reason for the end."""
    epochs, stopping = plan.training.epochs, plan.training.early_stopping
    if progress.epoch > epochs:
        yield "progress.epoch", f"is {progress.epoch}, but the run has {epochs} epochs"
    if progress.stopped is None and progress.epoch >= epochs:
        yield "progress.stopped", f"is null after all {epochs} epochs"
    if progress.stopped == "epochs" and progress.epoch != epochs:
        yield "progress.stopped", f"is epochs after {progress.epoch} of {epochs} epochs"
    if progress.stopped == "early_stopping" and (stopping is None or progress.wait < stopping.patience):
        yield "progress.stopped", "is early_stopping, but nothing was waited for so long"
    if progress.stopped is not None and progress.batch:
        yield "progress.batch", "is that of a run that goes on, but it has stopped"
    if progress.step < progress.epoch + progress.batch:
        yield "progress.step", f"is {progress.step} after {progress.epoch} epochs and {progress.batch} batches"
    if (progress.epoch == progress.batch == 0) != (progress.step == 0):
        yield "progress.step", f"is {progress.step} in epoch {progress.epoch}, batch {progress.batch}"
    if progress.wait > progress.epoch:
        yield "progress.wait", f"is {progress.wait} after {progress.epoch} epochs"


def in_sums(progress: Progress, plan: Plan) -> Iterator[Contradiction]:
    """The sums over the current epoch."""
    sums, layers = progress.layer_squared_norm_sums, len(plan.layers) + plan.network.linear_path
    if (progress.first_loss is None) != (progress.step == 0):
        yield "progress.first_loss", f"is {progress.first_loss} after {progress.step} steps"
    if progress.rows < progress.batch or (progress.rows > 0) != (progress.batch > 0):
        yield "progress.rows", f"is {progress.rows} after {progress.batch} batches"
    if len(sums) != (layers if progress.batch else 0):
        yield "progress.layer_squared_norm_sums", f"has {len(sums)} numbers for {layers} layers"
    if min([progress.squared_norm_sum, *sums]) < 0:
        yield "progress.squared_norm_sum", "or a sum by layer is negative"
    if not progress.batch and (progress.loss_sum, progress.squared_norm_sum) != (0, 0):
        yield "progress.loss_sum", "is not 0 before the first batch of an epoch"


def in_best(progress: Progress, plan: Plan) -> Iterator[Contradiction]:
    """The best epochs, of the run and of each member."""
    costs, epochs = progress.member_costs, progress.member_epochs
    if any(epoch is not None and epoch >= progress.epoch for epoch in (progress.best_epoch, *epochs)):
        yield "progress.best_epoch", f"or that of a member is not before epoch {progress.epoch}"
    if progress.best_epoch is not None and progress.best_cost is None:
        yield "progress.best_cost", "is null, but there is a best epoch"
    if (progress.best_cost is None) != (progress.patience_cost is None):
        yield "progress.patience_cost", "and progress.best_cost are not both null"
    if len(costs) != len(epochs) or len(costs) not in (0, plan.members or 0):
        yield "progress.member_costs", f"has {len(costs)} numbers for {plan.members or 0} members"


def in_tries(progress: Progress, plan: Plan) -> Iterator[Contradiction]:
    """How often training diverged and went on."""
    how = plan.training.on_divergence
    if progress.tries > (0 if how is None else how.tries):
        yield "progress.tries", f"is {progress.tries}, which the experiment does not allow"
    if progress.optimizer_start > progress.step:
        yield "progress.optimizer_start", f"is {progress.optimizer_start} after {progress.step} steps"
    if not progress.tries and (progress.rate_factor, progress.optimizer_start) != (1, 0):
        yield "progress.rate_factor", "or progress.optimizer_start is that of a run that diverged, but none did"


def in_place(progress: Progress, batches: Batches | MemberBatches) -> Iterator[Contradiction]:
    """Whether `progress` is at a batch of the run's own data."""
    if progress.batch > len(batches) or progress.step != progress.epoch * len(batches) + progress.batch:
        yield "progress.step", f"is {progress.step}, but an epoch of these rows has {len(batches)} batches"
    if progress.rows != sum(stop - start for start, stop in batches.spans[: progress.batch]):
        yield "progress.rows", f"is {progress.rows} after {progress.batch} batches of these rows"
