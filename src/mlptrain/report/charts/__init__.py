"""Which charts does a report have? One class for each; these lists are the order of the page."""

from __future__ import annotations

from mlptrain.report.charts import amounts, classes, columns, plane, training
from mlptrain.report.charts.base import Chart, Subject

SECTIONS: dict[str, tuple[type[Chart], ...]] = {
    "training": (
        training.Losses,
        training.Figure,
        training.LastSteps,
        training.Gradients,
        training.Weights,
        training.Activations,
    ),
    "predictions": (
        classes.Confusion,
        classes.Roc,
        classes.PrecisionRecall,
        classes.Calibration,
        classes.Threshold,
        amounts.PredictedTrue,
        amounts.Errors,
        amounts.ErrorsByPrediction,
        amounts.ErrorsByTruth,
        plane.Boundary,
    ),
    "columns": (columns.Importance, columns.PartialDependence),
}


def charts_of(subject: Subject) -> dict[str, list[Chart]]:
    """The charts that there are of a run, by section."""
    found = {section: [kind.of(subject) for kind in kinds] for section, kinds in SECTIONS.items()}
    return {section: [chart for chart in some if chart is not None] for section, some in found.items()}
