"""Selections that extend another selection by composition."""

from typing import Any

from torch import Tensor, nn

from querydet.parts import Selection


class SelectionWrapper(nn.Module):
    """A selection around another one, whose weights keep their names.

    Both share one registry of children, parameters and buffers. So a checkpoint of the wrapped selection fits the
    wrapper, and inference, which needs no extra groups, can run without the wrapper. Every attribute that the wrapper
    does not define, such as a trait, is that of the wrapped selection.

    Args:
        selection: the wrapped selection, which makes the primary group.

    Raises:
        ValueError: the selection is such a wrapper itself: both would have extra groups, under the same names.
    """

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        if isinstance(selection, SelectionWrapper):
            raise ValueError(
                f"{type(self).__name__} extends a selection that makes one group, and {type(selection).__name__} makes "
                "more; groups of groups are not supported: extend the selection inside it"
            )
        self.__dict__["selection"] = selection  # not as a child, whose weights would have longer names
        for registry in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[registry] = vars(selection).get(registry, self.__dict__[registry])

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "selection" not in vars(self):  # while it is being copied or unpickled
                raise
            return getattr(self.selection, name)

    @property
    def num_queries(self) -> int:
        """Q, the number of queries of the primary group."""
        return self.selection.num_queries

    @property
    def reference_dim(self) -> int:
        """Number of coordinates of a reference: 4 for boxes, 2 for points."""
        return self.selection.reference_dim

    @property
    def fixed_positions(self) -> bool:
        """True where the queries bring their positional part."""
        return self.selection.fixed_positions

    def embed_boxes(self, boxes: Tensor) -> Tensor | None:
        """Return fixed positional queries (B, n, C) of other boxes (B, n, 4), or None."""
        return self.selection.embed_boxes(boxes)

    def train(self, mode: bool = True) -> "SelectionWrapper":
        """Set the mode of the wrapped selection too."""
        if isinstance(self.selection, nn.Module):
            self.selection.training = mode
        super().train(mode)
        return self
