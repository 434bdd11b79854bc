"""Faults of a run: NaN, lack of memory, unusable images, requests to stop."""
