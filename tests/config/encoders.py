"""Classes whose arguments configs change."""


class Encoder:
    """Something to build."""

    def __init__(self, layers=6, dropout=0.0, norm=None):
        self.layers, self.dropout, self.norm = layers, dropout, norm


class Wide(Encoder):
    """Something else to build."""
