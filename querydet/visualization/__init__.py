"""Visualization of data, predictions, queries and training curves."""

from typing import TYPE_CHECKING

from querydet.utils.on_request import names_on_request

if TYPE_CHECKING:
    from querydet.visualization.curves import plot_curves
    from querydet.visualization.drawing import draw_instances, instances_of_record
    from querydet.visualization.grids import (
        Panel,
        batch_panels,
        draw_batch,
        draw_predictions,
        prediction_panels,
        render_grid,
        save_grid,
    )
    from querydet.visualization.query_pictures import draw_references, draw_sampling, reference_panels
    from querydet.visualization.runs import read_metrics

__all__ = [
    "Panel",
    "batch_panels",
    "draw_batch",
    "draw_instances",
    "draw_predictions",
    "draw_references",
    "draw_sampling",
    "instances_of_record",
    "plot_curves",
    "prediction_panels",
    "read_metrics",
    "reference_panels",
    "render_grid",
    "save_grid",
]

if not TYPE_CHECKING:  # a type checker would take every name to be of type Any
    __getattr__, __dir__ = names_on_request(
        __name__,
        {
            "querydet.visualization.curves": "plot_curves",
            "querydet.visualization.drawing": "draw_instances instances_of_record",
            "querydet.visualization.grids": (
                "Panel batch_panels draw_batch draw_predictions prediction_panels render_grid save_grid"
            ),
            "querydet.visualization.query_pictures": "draw_references draw_sampling reference_panels",
            "querydet.visualization.runs": "read_metrics",
        },
    )
