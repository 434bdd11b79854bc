"""Export of detectors: programs of `torch.export`, ONNX graphs, and a detector interface to run them."""
