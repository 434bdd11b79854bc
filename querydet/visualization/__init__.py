"""Pictures of data, predictions and training curves."""

from querydet.visualization.curves import plot_curves, read_metrics
from querydet.visualization.drawing import draw_instances, instances_of_record
from querydet.visualization.grids import Panel, draw_batch, draw_predictions, save_grid

__all__ = [
    "Panel",
    "draw_batch",
    "draw_instances",
    "draw_predictions",
    "instances_of_record",
    "plot_curves",
    "read_metrics",
    "save_grid",
]
