"""The checksum inside a checkpoint."""

import os
import random
import zipfile

import pytest
import torch

from querydet.checkpoint import limits, load_weights
from querydet.checkpoint.seal import damage, seal
from querydet.utils.atomic import atomic_write


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "model.pth"
    with atomic_write(str(path)) as file:
        torch.save({"model": {"weight": torch.arange(600.0)}, "iteration": 3}, file)
        seal(file)
    return path


def test_file_is_read_as_before(sealed):
    assert damage(str(sealed)) is None
    for mmap in (False, True):
        assert torch.load(sealed, weights_only=True, mmap=mmap)["iteration"] == 3
    assert zipfile.ZipFile(sealed).testzip() is None


def test_any_flipped_bit_is_found(sealed):
    """At places drawn over the whole file, and at every byte of its end, where the checksum itself is."""
    content = sealed.read_bytes()
    draw = random.Random(0)
    places = [draw.randrange(len(content)) for _ in range(300)] + list(range(len(content) - 130, len(content)))
    for place in places:
        broken = bytearray(content)
        broken[place] ^= 1 << draw.randrange(8)
        sealed.write_bytes(broken)
        assert damage(str(sealed)), place


def test_any_truncation_is_found(sealed):
    content = sealed.read_bytes()
    for length in [0, 1, 2, 21, *range(100, len(content), 97), len(content) - 80, len(content) - 1]:
        sealed.write_bytes(content[:length])
        assert damage(str(sealed)), length


def test_file_without_a_checksum_is_checked_part_by_part(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"weight": torch.arange(600.0)}, path)
    assert damage(str(path)) is None
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(600.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    assert "wrong checksum of" in damage(str(path))


def test_damaged_weights_are_refused_before_they_are_used(sealed):
    content = bytearray(sealed.read_bytes())
    content[len(content) // 2] ^= 4
    sealed.write_bytes(content)
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.zeros(600))
    with pytest.raises(ValueError, match=r"model.pth is damaged: its content does not have the checksum"):
        load_weights(model, str(sealed))
    assert not model.weight.any()
    assert os.path.exists(sealed)


def test_a_large_file_of_another_program_is_sound(tmp_path, monkeypatch):
    """What is read at once is bounded, not the size of the file."""
    path = tmp_path / "large.pth"
    torch.save({str(index): torch.zeros(25_000) for index in range(4)}, path)
    monkeypatch.setattr(limits, "MAX_DIRECTORY", 150_000)
    assert path.stat().st_size > 400_000
    assert damage(str(path)) is None
