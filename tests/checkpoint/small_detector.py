"""A detector of a few weights, and a file with the weights of its backbone."""

import pickle

import numpy as np
import torch
from torch import nn


class Detector(nn.Module):
    """A backbone and a head whose size depends on the number of classes."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))
        self.class_head = nn.Linear(4, num_classes)
        self.box_head = nn.Linear(4, 4)
        self.register_buffer("pixel_mean", torch.zeros(3))


def imagenet_file(path, leave_out=()):
    """A file as Detectron2's model zoo has them: numpy arrays, names without "backbone.", a classifier on top."""
    state = {name: value.numpy() for name, value in Detector().backbone.state_dict().items() if name not in leave_out}
    state["fc.weight"] = np.zeros((10, 4), np.float32)
    with open(path, "wb") as file:
        pickle.dump({"model": state, "__author__": "torchvision", "matching_heuristics": True}, file)
