"""Small files that ask for years, terabytes or trust. Each function of `FILES` writes one."""

import argparse
import builtins
import collections
import io
import json
import pickle
import struct
import zipfile

import numpy as np
import torch

TERA = 10**12


def text(value):
    """The operations that push a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def pkl(operations):
    return lambda path: path.write_bytes(b"\x80\x02" + operations + b".")


def doubled(open_pair, close_pair, rounds=60):
    """A container that holds the one before twice, and so on."""
    start = b"K\x01"
    return start + b"".join(
        b"q" + bytes([n]) + b"0" + open_pair + b"h" + bytes([n]) + b"h" + bytes([n]) + close_pair for n in range(rounds)
    )


def dicts(rounds=60):
    """Dicts with the one before under two keys."""
    return b"}" + b"".join(
        b"q" + bytes([n]) + b"0}(K\x01h" + bytes([n]) + b"K\x02h" + bytes([n]) + b"u" for n in range(rounds)
    )


def late(rounds=60):
    """Lists that are put into each other while they are empty, from the outside in."""
    lists = b"".join(b"]q" + bytes([n]) + b"0" for n in range(rounds))
    return lists + b"".join(
        b"h" + bytes([n]) + b"(" + b"h" + bytes([n + 1]) + b"h" + bytes([n + 1]) + b"e0" for n in range(rounds - 1)
    )


def array(shape, data=b"U\x04aaaa", kind="f4"):
    """The operations of a numpy array of Python 2."""
    dtype = (
        named("numpy", "dtype") + text(kind) + b"K\x00K\x01\x87R(K\x03" + text("<") + b"NNN" + b"J\xff\xff\xff\xff" * 2
    )
    return (
        named("numpy.core.multiarray", "_reconstruct")
        + named("numpy", "ndarray")
        + b"K\x00\x85"
        + text("b")
        + b"\x87R(K\x01"
        + shape
        + dtype
        + b"K\x00tb\x89"
        + data
        + b"tb"
    )


def long1(value):
    content = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + content


def model(operations):
    """A dict with the operations' value under "model"."""
    return b"}" + text("model") + operations + b"s"


STORAGE = "FloatStorage"


def storage(count, key="0", kind=STORAGE, legacy=False):
    fields = text("storage") + named("torch", kind) + text(key) + text("cpu") + count + (b"N" if legacy else b"")
    return b"(" + fields + b"tQ"


def tensor(count=b"K\x01", shape=b"K\x01\x85", stride=b"K\x01\x85", offset=b"K\x00", legacy=False, key="0"):
    hooks = named("collections", "OrderedDict") + b")R"
    content = storage(count, key, legacy=legacy) + offset + shape + stride + b"\x89" + hooks
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + content + b"tR"


def weight(operations):
    return model(b"}" + text("weight") + operations + b"s")


def pth(operations, records=(("data/0", b"\0" * 4),), compression=zipfile.ZIP_STORED):
    def write(path):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02" + operations + b".")
            archive.writestr("archive/version", "3\n")
            for name, content in records:
                archive.writestr(f"archive/{name}", content)

    return write


def legacy(operations, keys=b"](X\x01\x00\x00\x000e"):
    def write(path):
        whole = io.BytesIO()
        torch.save({}, whole, _use_new_zipfile_serialization=False)
        start = whole.getvalue()
        stream = io.BytesIO(start)
        for _ in range(3):
            pickle.load(stream)
        path.write_bytes(start[: stream.tell()] + b"\x80\x02" + operations + b".\x80\x02" + keys + b"." + bytes(12))

    return write


def torch_saved(value):
    return lambda path: torch.save(value, path)


class Call:
    """Its pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def sparse_member(path):
    """An archive with a member of 6 GB of holes."""
    pth(weight(tensor()))(path)
    with zipfile.ZipFile(path, "a") as archive, archive.open("archive/data/1", "w", force_zip64=True) as member:
        member.write(b"\0")
    content = path.read_bytes()
    start = content.rindex(b"archive/data/1", 0, content.index(b"PK\x01\x02")) - 30
    size = 6 * 10**9
    with open(path, "wb") as file:
        file.write(content[: content.index(b"PK\x01\x02")])
        file.seek(start + 30 + 14 + 20 + size)
        directory = content[content.index(b"PK\x01\x02") :]
        file.write(directory)


def many_members(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    content = path.read_bytes()
    entry = content[content.index(b"PK\x01\x02") : content.index(b"PK\x05\x06")]
    start = content.index(b"PK\x01\x02")
    count = 800_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, len(entry) * count, start, 0)
    path.write_bytes(content[:start] + entry * count + end)


def safetensors(header, content=b"\0" * 4):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return lambda path: path.write_bytes(struct.pack("<Q", len(raw)) + raw + content)


def big_header(path):
    start = b'{"__metadata__":{"a":"'
    path.write_bytes(struct.pack("<Q", 40_000_000) + start + b"x" * (40_000_000 - len(start)))


def entry(shape, end, dtype="F32"):
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


def quantised():
    return torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)


class Own(torch.Tensor):
    pass


HASHED = doubled(b"", b"\x86")
KEYS = b"".join(long1(n * (2**61 - 1)) + b"N" for n in range(3, 20_000))

FILES = {
    # walks of 2^60 steps
    "shared lists.pkl": pkl(model(doubled(b"](", b"e"))),
    "shared tuples.pkl": pkl(model(doubled(b"", b"\x86"))),
    "shared dicts.pkl": pkl(model(dicts())),
    "shared tuple as a key.pkl": pkl(b"}" + HASHED + b"Ns"),
    "shared tuple in a set.pkl": pkl(model(b"\x8f(" + HASHED + b"\x90")),
    "shared tuples.pth": pth(model(HASHED)),
    "shared tuple as a key.pth": pth(b"}" + HASHED + b"Ns"),
    "shared tuple in OrderedDict.pkl": pkl(named("collections", "OrderedDict") + b"](" + HASHED + b"N\x86e\x85R"),
    "shared lists.legacy": legacy(model(doubled(b"](", b"e")), b"]"),
    "late lists.pth": pth(model(late() + b"h\x00")),
    "late lists.pkl": pkl(model(late() + b"h\x00")),
    "itself.pkl": pkl(model(b"]q\x00h\x00a")),
    "colliding keys.pkl": pkl(b"}(" + KEYS + b"u"),
    "colliding keys.pth": pth(b"}(" + KEYS + b"u"),
    # depth
    "deep list.pkl": pkl(model(b"]" * 150_000 + b"a" * 149_999)),
    "deep tuple.pkl": pkl(model(b"N" + b"\x85" * 300_000)),
    "deep tuple as a key.pkl": pkl(b"}N" + b"\x85" * 300_000 + b"Ns"),
    "deep tuple.pth": pth(model(b"N" + b"\x85" * 300_000)),
    "deep options.pth": torch_saved({"args": argparse.Namespace(a=json.loads("[" * 200 + "]" * 200))}),
    # sizes that are not in the file
    "memo index.pkl": pkl(b"}r\xff\xff\xff\x7f"),
    "bytearray8.pkl": lambda path: path.write_bytes(b"\x80\x05\x96" + struct.pack("<Q", TERA) + b"."),
    "bytes8.pkl": lambda path: path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", TERA) + b"."),
    "frame.pkl": lambda path: path.write_bytes(b"\x80\x04\x95" + struct.pack("<Q", TERA) + b"}."),
    "array.pkl": pkl(weight(array(long1(TERA) + b"\x85"))),
    "array of zeros.pkl": pkl(
        weight(
            named("numpy.core.numeric", "_frombuffer")
            + b"("
            + long1(TERA)
            + named("numpy", "dtype")
            + text("f4")
            + b"\x85R"
            + b"K\x01\x85"
            + text("C")
            + b"tR"
        )
    ),
    "bytearray.pth": torch_saved({"model": {"weight": torch.ones(1)}, "x": Call(bytearray, TERA)}),
    "FloatTensor.pth": torch_saved({"model": {"weight": Call(torch.FloatTensor, TERA)}}),
    "UntypedStorage.pth": torch_saved({"model": {"weight": Call(torch.UntypedStorage, TERA)}}),
    "storage.pth": pth(weight(tensor(long1(TERA), long1(TERA) + b"\x85"))),
    "storage longer than record.pth": pth(weight(tensor(b"M\xe8\x03", b"M\xe8\x03\x85"))),
    "record longer than storage.pth": pth(weight(tensor()), [("data/0", bytes(1000))]),
    "no record.pth": pth(weight(tensor(key="7"))),
    "storage.legacy": legacy(weight(tensor(long1(TERA), long1(TERA) + b"\x85", legacy=True))),
    "negative storage.pth": pth(weight(tensor(long1(-TERA)))),
    "stride 0.pth": pth(weight(tensor(shape=long1(TERA) + b"\x85", stride=b"K\x00\x85"))),
    "beyond.pth": pth(weight(tensor(shape=b"K\x02\x85"))),
    "offset beyond.pth": pth(weight(tensor(offset=b"K\x05"))),
    "negative stride.pth": pth(weight(tensor(stride=b"J\xff\xff\xff\xff\x85"))),
    "encoded many times.pkl": pkl(
        b"]("
        + text("x" * 1_000_000)
        + b"q\x000"
        + (named("_codecs", "encode") + b"h\x00" + text("latin1") + b"\x86R") * 20_000
        + b"e"
    ),
    "long integer.pkl": pkl(model(b"\x8b" + struct.pack("<i", 2_000_000) + b"\x7f" * 2_000_000)),
    "nothing very often.pkl": pkl(b"}" + b"N0" * 1_000_000),
    "compressed.pth": pth(weight(tensor()), [("data/0", bytes(100_000_000))], zipfile.ZIP_DEFLATED),
    "many members.pth": many_members,
    "sparse member.pth": sparse_member,
    "twice the same member.pth": pth(weight(tensor()), [("data/0", b"\0" * 4), ("data/0", b"\1" * 4)]),
    "header of 2^62.safetensors": lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"),
    "header of 40 MB.safetensors": big_header,
    "tensor.safetensors": safetensors(entry([TERA], 4 * TERA)),
    "overflow.safetensors": safetensors(entry([2**40, 2**40], 4)),
    "deep header.safetensors": safetensors(b'{"a":' + b"[" * 100_000),
    "NaN header.safetensors": safetensors(b'{"a": NaN}'),
    # other code, other tensors
    "idna.pkl": pkl(model(named("_codecs", "encode") + text("x") + text("idna") + b"\x86R")),
    "numpy's own type.pth": pth(
        model(
            named("numpy", "dtype")
            + text("f8")
            + b"\x89\x89\x87R(K\x03"
            + text(">")
            + b"NNNJ\xff\xff\xff\xff"
            + b"J\xff\xff\xff\xffK\x00tb"
        )
    ),
    "methods.pth": pth(model(named("collections", "OrderedDict") + b")R}" + text("items") + b"K\x01sb")),
    "extension.pkl": pkl(b"\x82\x01"),
    "exec.pkl": lambda path: path.write_bytes(pickle.dumps({"model": Call(builtins.exec, "1")})),
    "sparse.pth": torch_saved({"model": {"weight": torch.eye(3).to_sparse()}}),
    "meta.pth": torch_saved({"model": {"weight": torch.empty(3, device="meta")}}),
    "quantised.pth": torch_saved({"model": {"weight": quantised()}}),
    "subclass.pth": torch_saved({"model": {"weight": torch.ones(2).as_subclass(Own)}}),
    "complex.pth": torch_saved({"model": {"weight": torch.ones(2, dtype=torch.complex64)}}),
    "complex.pkl": lambda path: path.write_bytes(pickle.dumps({"model": {"weight": np.ones(2, np.complex64)}})),
    "eight bits.pth": torch_saved({"model": {"weight": torch.ones(2).to(torch.float8_e4m3fn)}}),
    "name that does not print.pth": torch_saved({"model": {"a\n\x1b[2J": torch.ones(2)}}),
    "long name.pth": torch_saved({"model": {"a" * 100_000: torch.ones(2)}}),
    "text.pth": torch_saved({"model": {"weight": "x" * 1000}}),
    "counter.pth": torch_saved({"model": collections.Counter(["weight"])}),
    "empty.pth": lambda path: path.write_bytes(b""),
}
