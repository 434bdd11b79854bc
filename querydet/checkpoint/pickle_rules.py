"""What pickles of checkpoints may name, and what their calls may do: one set of rules for each kind of file."""

import re
from collections.abc import Callable, Sequence

import torch

from querydet.checkpoint.pickle_notes import Budget, NoNames, Note, Refused
from querydet.utils.texts import shown

# What PyTorch can store besides plain tensors, by the function that makes it.
UNUSUAL = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has no values",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_wrapper_subclass": "a subclass of tensors",
    "torch._utils._rebuild_parameter_with_state": "a parameter with attributes",
    "torch._tensor._rebuild_from_type_v2": "a subclass of tensors, or a tensor with attributes",
}
DTYPES = {str(value): value.itemsize for value in vars(torch).values() if isinstance(value, torch.dtype)}
STORAGES = {  # bytes of an element
    f"torch.{name}Storage": size
    for name, size in {
        **{"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1},
        **{"Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8},
    }.items()
}
STORAGES |= {name.replace("torch.", "torch.cuda."): size for name, size in STORAGES.items()}
STORAGES["torch.storage.UntypedStorage"] = 1
NUMPY = ("numpy.core", "numpy._core")  # before and since numpy 2
SCALARS = tuple(f"{module}.multiarray.scalar" for module in NUMPY)
COUNTER = "collections.Counter"
CONTAINERS = {"collections.OrderedDict": "dict", COUNTER: "dict"}
CONTAINERS |= {f"{module}.set": "set" for module in ("builtins", "__builtin__")}
BYTEARRAYS = ("builtins.bytearray", "__builtin__.bytearray")
NAMESPACE = "argparse.Namespace"
ENCODE = "_codecs.encode"
LATIN1 = ("latin1", "latin-1")  # how Python writes the encoding that keeps every byte
# Functions that make tensors, with their number of arguments.
_TENSORS = {"_rebuild_tensor": 4, "_rebuild_tensor_v2": 6, "_rebuild_tensor_v3": 7, "_rebuild_parameter": 3}
_NUMPY_TYPE = re.compile(r"[<>=|]?[?biufc]\d{0,2}")
_NUMPY_STATE = [None, None, None, -1, -1, 0]  # no fields, size and flags of its own: of a number
MAX_DIMENSIONS = 64  # of a tensor or an array, numpy's limit


class ArrayRules(NoNames):
    """The rules of a pickle of numpy arrays, whose names stand for functions of `unpickling`.

    Args:
        names: those functions' names in a pickle.
        budget: bytes that its calls may make.
    """

    def __init__(self, names: Sequence[str], budget: Budget) -> None:
        self.names = frozenset(names)
        self.budget = budget

    def check_global(self, name: str) -> None:
        """Refuse a name that stands for nothing."""
        if name not in self.names:
            raise Refused(shown(UNUSUAL.get(name, name)))

    def call(self, name: str, arguments: Sequence[Note]) -> Note:
        """Note the result of a call."""
        self.budget.charge(sum(map(_cost, arguments)), "content")
        if name == ENCODE:
            return _encoded(arguments)
        if name in CONTAINERS:
            _want(
                name != COUNTER or [item.kind for item in arguments] in ([], ["dict"]), "a counter in an unknown form"
            )
            return _container(CONTAINERS[name], arguments)
        return self._made(name, arguments)

    def check_state(self, target: Note, state: Note) -> None:
        """Refuse a state of anything but an array and its type, or with more than the names of a state dict have."""
        self.budget.charge(_cost(state) + sum(map(_cost, state.items)), "content")
        if target.kind == "dict":
            if state.kind != "dict" or any(key.value != "_metadata" for key in state.items[::2]):
                raise Refused("attributes of a dict")
        elif target.kind != "call" or not self._may_have_state(target.value, state):
            raise Refused(f"the state of a {target.value or target.kind}")

    def _made(self, name: str, arguments: Sequence[Note]) -> Note:
        return Note("call", name, [*arguments])

    def _may_have_state(self, name: str, state: Note) -> bool:
        return state.kind == "tuple" and name.endswith(("._reconstruct", ".ndarray", ".dtype"))


class TorchRules(ArrayRules):
    """The rules of a file of ``torch.save``.

    Args:
        budget: bytes of its tensors together, and of what its calls make.
        size_of: key of a storage -> its bytes in the file; None where the file does not say.
    """

    def __init__(self, budget: Budget, size_of: Callable[[str], int | None] = lambda key: None) -> None:
        tensors = [f"torch._utils.{name}" for name in _TENSORS]
        plain = [*CONTAINERS, *BYTEARRAYS, *SCALARS, NAMESPACE, ENCODE, "numpy.dtype", "torch.Size", "torch.device"]
        super().__init__([*tensors, *plain, *DTYPES, *STORAGES], budget)
        self.storages: dict[str, int] = {}  # bytes by key
        self._size_of = size_of
        self._total = 0

    def storage(self, identity: Note) -> Note:
        """Note a storage, which has to be as large as its place in the file."""
        items = identity.items
        if identity.kind != "tuple" or len(items) not in (5, 6) or items[0].value != "storage":
            raise Refused("a reference to something that is no tensor")
        kind, key, count = items[1].value, items[2].value, items[4].value
        if len(items) == 6 and items[5].kind != "none":
            raise Refused("a view of another storage")
        if items[1].kind != "global" or kind not in STORAGES:
            raise Refused(f"a storage of {shown(str(kind))}")
        if not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise Refused("a storage without name and size")
        size = count * STORAGES[kind]
        present = self._size_of(key) if key not in self.storages else self.storages[key]
        if present is not None and size != present:
            raise ValueError(f"the storage {shown(key)} is to have {size:,} bytes, and has {present:,}")
        self._total += 0 if key in self.storages else size
        self.storages[key] = size
        if self._total > self.budget.file_size:
            raise ValueError(f"the storage {shown(key)} is to have {size:,} bytes, more than the file")
        return Note("storage", (size, STORAGES[kind], kind.endswith("UntypedStorage")))

    def _made(self, name: str, arguments: Sequence[Note]) -> Note:
        function = name.rpartition(".")[2]
        if name.startswith("torch._utils."):
            if function == "_rebuild_parameter":
                _want(bool(arguments) and arguments[0].kind == "call", "a parameter without a tensor")
            else:
                self._check_tensor(arguments, function)
        elif name in BYTEARRAYS:
            _want(all(item.kind in ("str", "bytes") for item in arguments), "a bytearray of a size alone")
            _want(len(arguments) < 2 or arguments[1].value in LATIN1, "a bytearray in another encoding")
        elif name == "numpy.dtype":
            # without a copy the state would be set on numpy's own type, for the whole process
            values = [item.value for item in arguments]
            known = len(values) == 3 and isinstance(values[0], str) and _NUMPY_TYPE.fullmatch(values[0])
            _want(bool(known and not values[1] and values[2]), "a type of numpy that is no number")
        elif name == NAMESPACE:
            _want(not arguments, "options as arguments")
        elif name in DTYPES or name in STORAGES:
            raise Refused(f"a call of {name}")
        return Note("call", name, [*arguments])

    def _may_have_state(self, name: str, state: Note) -> bool:
        if name == NAMESPACE:
            return state.kind == "dict" and not any(str(key.value).startswith("__") for key in state.items[::2])
        values = [item.value for item in state.items]
        return name == "numpy.dtype" and values[2:] == _NUMPY_STATE and str(values[1]) in ("<", ">", "=", "|")

    def _check_tensor(self, arguments: Sequence[Note], function: str) -> None:
        """Refuse a tensor that reaches beyond its storage, or repeats it too often."""
        _want(len(arguments) >= _TENSORS[function], "a tensor in an unknown form")
        storage, offset, sizes, strides = arguments[:4]
        _want(storage.kind == "storage" and sizes.kind == strides.kind == "tuple", "a tensor in an unknown form")
        size, item_size, untyped = storage.value
        if function == "_rebuild_tensor_v3":
            _want(untyped and arguments[6].value in DTYPES, "a tensor in an unknown form")
            item_size = DTYPES[arguments[6].value]
        shape = [_integer(note) for note in sizes.items]
        steps = [_integer(note) for note in strides.items]
        _want(len(shape) == len(steps) <= MAX_DIMENSIONS, "a tensor in an unknown form")
        count = 1
        for length in shape:
            count *= length
        last = _integer(offset) + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
        if count and (last + 1) * item_size > size:
            raise ValueError(f"a tensor of shape {tuple(shape)} reaches beyond its storage of {size:,} bytes")
        self.budget.charge(count * item_size, "tensors")


def _want(condition: bool, what: str) -> None:
    if not condition:
        raise Refused(what)


def _integer(note: Note) -> int:
    _want(note.kind == "int" and 0 <= note.value < 2**63, "a tensor in an unknown form")
    return int(note.value)


def _cost(note: Note) -> int:
    return note.length + 16 * len(note.items)


def _encoded(arguments: Sequence[Note]) -> Note:
    text, *rest = arguments
    _want(text.kind == "str" and all(item.value in LATIN1 for item in rest), "bytes in another encoding")
    return Note("bytes", length=text.length)


def _container(kind: str, arguments: Sequence[Note]) -> Note:
    """Note a dict made of pairs or of another dict, or a set made of a list."""
    _want(len(arguments) <= 1, f"a {kind} in an unknown form")
    items: list[Note] = []
    for source in arguments:
        _want(source.kind in ("list", "tuple", "dict"), f"a {kind} in an unknown form")
        if kind == "set" or source.kind == "dict":
            items += source.items
            continue
        for pair in source.items:
            _want(pair.kind in ("list", "tuple") and len(pair.items) == 2, f"a {kind} in an unknown form")
            items += pair.items
    return Note(kind, items=items)
