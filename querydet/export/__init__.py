"""Detectors that leave the training code: programs of torch.export, ONNX graphs, and models that run them."""
