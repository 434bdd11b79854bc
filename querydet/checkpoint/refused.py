"""The refusal of a pickle."""

import pickle


class Refused(pickle.UnpicklingError):
    """A pickle holds something else than weights and plain values."""
