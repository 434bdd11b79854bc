"""Names and calls in pickles of checkpoints."""

import numpy as np
import pytest
import torch

from querydet.checkpoint.limits import TooLarge
from querydet.checkpoint.pickle_notes import Budget, Note, Refused
from querydet.checkpoint.pickle_rules import DTYPES, STORAGES, ArrayRules, TorchRules

ENCODE = "_codecs.encode"


def numbers(*values):
    return Note("tuple", items=[Note("int", value) for value in values])


def tensor(rules, count, shape, stride, offset=0):
    kind, key = Note("global", "torch.FloatStorage"), Note("str", "0")
    items = [Note("str", "storage"), kind, key, Note("str", "cpu"), Note("int", count)]
    storage = rules.storage(Note("tuple", items=items))
    arguments = [storage, Note("int", offset), numbers(*shape), numbers(*stride), Note("bool", False), Note("dict")]
    return rules.call("torch._utils._rebuild_tensor_v2", arguments)


def test_sizes_of_elements_are_those_of_torch():
    for name, size in STORAGES.items():
        if name.startswith("torch.") and name.count(".") == 1:
            assert getattr(torch, name.removeprefix("torch.")).dtype.itemsize == size
    assert DTYPES["torch.bfloat16"] == 2


@pytest.mark.parametrize(
    ("count", "shape", "stride", "offset", "fits"),
    [
        (6, (2, 3), (3, 1), 0, True),
        (6, (3, 2), (1, 3), 0, True),
        (6, (2, 3), (3, 1), 1, False),
        (6, (2, 3), (4, 1), 0, False),
        (1, (5,), (0,), 0, True),
        (0, (0, 2**40), (1, 1), 0, True),
        (1, (), (), 0, True),
        (1, (), (), 1, False),
    ],
)
def test_tensors_stay_in_their_storage_as_torch_has_it(count, shape, stride, offset, fits):
    try:
        torch.empty(0).set_(torch.from_numpy(np.zeros(count, np.float32)).untyped_storage(), offset, shape, stride)
        torch_takes = True
    except RuntimeError:
        torch_takes = False
    assert torch_takes == fits
    rules = TorchRules(Budget(4 * count))
    if fits:
        assert tensor(rules, count, shape, stride, offset).kind == "call"
    else:
        with pytest.raises(ValueError, match="reaches beyond"):
            tensor(rules, count, shape, stride, offset)


def test_repeated_content_is_charged():
    rules = TorchRules(Budget(4))
    with pytest.raises(TooLarge, match="MAX_EXPANSION"):
        tensor(rules, 1, (2**40,), (0,))


def test_storages_are_as_large_as_their_records():
    with pytest.raises(ValueError, match="to have 24 bytes, and has 20"):
        tensor(TorchRules(Budget(24), lambda key: 20), 6, (6,), (1,))
    with pytest.raises(ValueError, match="more than the file"):
        tensor(TorchRules(Budget(20)), 6, (6,), (1,))


def test_only_names_that_stand_for_something():
    rules = ArrayRules([ENCODE], Budget(100))
    rules.check_global(ENCODE)
    with pytest.raises(Refused, match=r"os\.system"):
        rules.check_global("os.system")
    with pytest.raises(Refused, match="another encoding"):
        rules.call(ENCODE, [Note("str", "x"), Note("str", "idna")])


def test_attributes_of_a_dict_are_its_versions_alone():
    rules = TorchRules(Budget(100))
    names = Note("dict", items=[Note("str", "_metadata"), Note("dict")])
    rules.check_state(Note("dict"), names)
    with pytest.raises(Refused, match="attributes of a dict"):
        rules.check_state(Note("dict"), Note("dict", items=[Note("str", "items"), Note("none")]))
