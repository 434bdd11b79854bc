"""Several processes: how they start, agree with each other, and share parameters and evaluations."""
