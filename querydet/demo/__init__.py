"""A local web page that shows the detections of a checkpoint on an uploaded image; started by `querydet demo`."""

from querydet.demo.choices import Choice, find_choices
from querydet.demo.detection import Detections, Models

__all__ = ["Choice", "Detections", "Models", "find_choices"]
