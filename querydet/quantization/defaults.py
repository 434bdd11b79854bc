"""What `querydet quantize` does where nothing else is said; read without loading torch."""

FLOAT = ("backbone.stem",)  # beginnings of the names of layers that stay in floating point
OBSERVER_NAMES = ("minmax", "histogram")  # the keys of `observed.OBSERVERS`
