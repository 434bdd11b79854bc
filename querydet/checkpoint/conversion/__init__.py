"""Conversion of published checkpoints: names of other code bases to ours, and the config that fits the weights."""
