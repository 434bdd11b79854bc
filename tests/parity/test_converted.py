"""A recorded state dict that is converted as a stranger's file, in the config that is chosen for it, computes what was
recorded: nothing of the config is taken from the recording but what its file would say."""

import argparse

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate

from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.checkpoint.conversion.verify import GivenMaps
from querydet.structures import Branch
from tests.parity.fixture import DENSE, Fixture, available, let_padding_in, own, parameters, recordings
from tests.parity.test_parity import FORWARD, all_layers, assert_close, load


def said_by_the_user(fixture: Fixture) -> dict[str, int]:
    """What neither weights nor options of detrex's files tell, and the fixtures have other than the released models."""
    transformer = fixture.config["transformer"]
    return {"num_heads": transformer["decoder"]["num_heads"], "num_queries": fixture.num_queries}


# Neither a file nor its user says the constants in DETA's code and the position encoding of detrex's configurations.
SILENT = own("deta", "detrex_h_deformable")


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    parameters(sorted({*available(), *(name for adapter in DENSE for name in recordings(adapter))} - set(SILENT))),
)
def test_converted_weights_in_the_chosen_config_compute_what_was_recorded(name: str) -> None:
    fixture = load(name)
    detrex = fixture.adapter.startswith("detrex")
    content = {"model": fixture.group("state/")}
    if not detrex:
        content["args"] = argparse.Namespace(**fixture.config)
    converted = convert_content(content, options=said_by_the_user(fixture) if detrex else None)
    model = converted.fit.cfg.model
    features = dict(zip(model.neck.in_channels, fixture.features().values(), strict=True))
    model.backbone = L(GivenMaps)(channels=dict(model.neck.in_channels))
    let_padding_in(model)
    detector = instantiate(model).eval()
    detector.load_state_dict(converted.state, strict=True)
    _, predictions = all_layers(detector, fixture, features)
    for each in predictions:
        prefix = "eval/" if each.branch is Branch.ONE_TO_ONE else "eval/o2m/"
        prefix += "" if each.is_last else f"aux{each.layer}/"
        assert_close(each.logits, fixture[prefix + "pred_logits"], FORWARD, prefix + "logits")
        assert_close(each.boxes, fixture[prefix + "pred_boxes"], FORWARD, prefix + "boxes")
