"""Our detector for the recorded configurations of Align-DETR, which is built on detrex's DINO."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from querydet.config import get_config
from tests.parity.models import check_detrex, set_detrex_dino

if TYPE_CHECKING:
    from tests.parity.fixture import Fixture


def _align_detr(fixture: "Fixture") -> DictConfig:
    criterion = fixture.config["criterion"]
    model = get_config("common/models/align_detr.py").model
    set_detrex_dino(model, fixture)
    of_encoder, *of_decoder = criterion["match_num"]
    rules = model.criterion.rules
    for rule, counts in ((rules.encoder, of_encoder), (rules.decoder, list(of_decoder))):
        rule.assigner.copies.update(counts=counts, carry_over=True)
        rule.pair_weights.update(tau=criterion["tau"], alpha=criterion["alpha"])
    check_detrex(fixture.config)
    return model


MODELS = {"detrex_align_detr": _align_detr}
