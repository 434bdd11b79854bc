"""The oracles of `tests/reference/detectors` compute what the published implementations recorded, and our own
configurations are what they are for."""

import pytest
import torch
from torch import Tensor

from tests.parity.fixture import FOLDER, Fixture, recordings
from tests.parity.own_configurations import configurations, rows
from tests.parity.own_tables import TABLES
from tests.parity.test_parity import assert_close
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.recorder import METHODS, evaluate, leaves_of, train
from tests.reference.detectors.run import Objects

FORWARD = 1e-5  # of the largest entry; both compute in float32
GRADIENT = 2e-3  # where a ReLU's input is 0 but for rounding, it is on either side of it; without one it is 3e-6
PUBLISHED = [name for adapter in METHODS for name in recordings(adapter) if name not in configurations()]
QUICK = ("deformable_plain", "dn_dab_deformable", "none")  # the others are slow
LOGGED = ("class_error", "cardinality_error", "loss_xy", "loss_hw")  # losses that are not trained on
SWITCHES = (bool, str, list)


def computed(fixture: Fixture) -> dict[str, Tensor]:
    """What the oracle computes of a recording's inputs, parameters and random numbers."""
    constants = fixture.description.get("fixture_cfg", {})
    constants = constants.get("criterion") or constants.get("deta_consts") or {}
    method = METHODS[fixture.adapter](fixture.description["config"], constants)
    leaves = leaves_of(fixture.group("state/"), fixture.description["state_shared"], torch.float32)
    features, padding = list(fixture.features().values()), fixture["in/pad_mask"]
    sizes = [tuple(size) for size in fixture["in/orig_sizes"].tolist()]
    found, _ = evaluate(method, leaves, features, padding, sizes)
    for which in "ABC":
        if f"train{which}/total" in fixture:
            seen = fixture.targets(which)
            objects = [Objects(*one) for one in zip(seen.labels, seen.boxes, strict=True)]
            draws = Draws(recorded=fixture.group(f"train{which}/rng/"))
            passed = train(method, leaves, features, padding, objects, draws)
            norms = [passed[f"grad/{name}"].norm() for name in fixture.description["grad_norm_names"]]
            found |= {f"train{which}/{name}": value for name, value in passed.items()}
            found[f"train{which}/grad_norms"] = torch.stack(norms)
    return found


def visible(fixture: Fixture, name: str, values: Tensor) -> Tensor:
    """The part of a tensor that anything reads: positions of padding are huge in some released codes."""
    if "/mid/pos_embed/" in name:
        level = f"feat_mask/{name.rsplit('/', 1)[1]}"
        return values.movedim(1, -1)[~fixture[level]] if level in fixture else values[:0]
    if name.endswith("/mid/memory"):
        return values[~fixture[name.replace("memory", "mask_flatten")]]
    return values


@pytest.mark.skipif(not PUBLISHED, reason=f"no recordings of published implementations in {FOLDER}")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED or ["none"]]
)
def test_oracles_compute_what_the_published_implementations_recorded(name: str) -> None:
    fixture = Fixture.load(name)
    ours = computed(fixture)
    compared = set()
    for key, recorded in fixture.tensors.items():
        if key not in ours or (fixture.ties and "topk_indices" in key):
            continue
        compared.add(key)
        if recorded.is_floating_point():
            tolerance = GRADIENT if "/grad" in key else FORWARD
            assert_close(visible(fixture, key, ours[key]), visible(fixture, key, recorded), tolerance, key)
        else:
            assert torch.equal(ours[key].to(recorded.dtype), recorded), key
    wanted = [key for key in fixture.tensors if key.startswith(("eval/", "train")) and not _intermediate(key)]
    assert set(wanted) <= compared, sorted(set(wanted) - compared)


def _intermediate(key: str) -> bool:
    """What recordings have beside the stages: each layer, the lists that denoising keeps, losses for the log."""
    kinds = ("/mid/", "/dn/", "/inference/", "interm_matching_pre_boxes", "targets_seen", "pred_logits_all_layers")
    return any(kind in key for kind in (*kinds, "pred_boxes_all_layers", *LOGGED))


@pytest.mark.parametrize("adapter", TABLES)
def test_no_option_of_ours_has_its_released_value(adapter: str) -> None:
    """Numbers differ in every configuration, and switches in some."""
    for option, (released, *ours) in rows(adapter).items():
        if isinstance(released, SWITCHES):
            ours = [value for value in ours if value != released] or [released]
            always = option in ("two_stage", "with_box_refine", "use_ms_detr")
            assert always or ours[0] != released or option == "images", option
        else:
            assert released not in ours, option


@pytest.mark.parametrize("adapter", TABLES)
def test_there_are_five_configurations_of_each_method(adapter: str) -> None:
    assert sum(one.adapter == adapter for one in configurations().values()) >= 5
