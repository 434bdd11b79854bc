"""A web page on this machine: drop an image, choose a checkpoint, see what it finds. Started by ``tools/demo.py``."""

from querydet.demo.choices import Choice, find_choices
from querydet.demo.detection import Detections, Models

__all__ = ["Choice", "Detections", "Models", "find_choices"]
