"""Inference: a predictor for images of any kind, and CUDA graphs."""
