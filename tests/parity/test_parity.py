"""Our detector computes what the published implementations recorded: forward, selection, noise, matches, losses and
gradients. Every hyperparameter is read from the fixture."""

import copy
import re
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from querydet.modeling.assigners import HungarianAssigner
from querydet.modeling.decoder.group_attention import blocked_pairs
from querydet.modeling.detector import QueryDetector
from querydet.modeling.selection import anchor_tokens
from querydet.structures import Assignment, Branch, PredictionSet, QueryBatch, Role, Stage
from tests.parity import models_dac_detr, models_ms_detr
from tests.parity.fixture import Fixture, available, own, parameters, unsupported
from tests.parity.gradients import gradient
from tests.parity.own_configurations import configurations

FORWARD, GRADIENT = 1e-4, 1e-3  # of the largest entry; other CPU kernels move the recorded numbers by 5e-6 at most
TARGETS = ("A", "B", "C")  # objects in both images, in one, in none

pytestmark = pytest.mark.skipif(not available(), reason="no parity fixtures in QUERYDET_PARITY_DIR")


def assert_close(actual: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    assert actual.shape == wanted.shape, f"{what}: shape {tuple(actual.shape)}, recorded {tuple(wanted.shape)}"
    if not wanted.numel():
        return
    finite = torch.isfinite(wanted)
    assert torch.equal(torch.isfinite(actual), finite), f"{what}: other entries are infinite"
    scale = wanted[finite].abs().max().clamp(min=1e-6) if finite.any() else torch.tensor(1.0)
    error = ((actual - wanted)[finite].abs().max() / scale).item() if finite.any() else 0.0
    assert error <= tolerance, f"{what}: off by {error:.2e} of the largest entry"


@cache
def load(name: str) -> Fixture:
    return Fixture.load(name)


@pytest.fixture(params=parameters(available()))
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return load(request.param)


@pytest.mark.parametrize("name", unsupported())
def test_other_fixtures(name: str) -> None:
    pytest.skip(f"{name} is of no model that our parts make; the test of its method may read parts of it")


@pytest.fixture(params=TARGETS)
def which(request: pytest.FixtureRequest, fixture: Fixture) -> str:
    if f"train{request.param}/total" not in fixture:
        pytest.skip(f"{fixture.name} has no target set {request.param}")
    return request.param


def built(fixture: Fixture) -> QueryDetector:
    """Our detector in evaluation; where tokens of equal score were selected, it selects those that were recorded."""
    detector = fixture.build().eval()
    fixture.replay_selection(detector, "eval")
    return detector


def all_layers(
    detector: QueryDetector, fixture: Fixture, features: dict[str, Tensor] | None = None
) -> tuple[QueryBatch, tuple[PredictionSet, ...]]:
    memory = detector.encoder(detector.neck(features or fixture.features(), fixture.eval_padding()))
    queries = detector.compose_queries(detector.selection(memory, training=False), None)
    outputs = detector.decoder(queries, memory, detector.heads, one_to_many=True)
    return queries, detector.heads(outputs, queries.groups, last_only=False)


@torch.no_grad()
def test_encoder(fixture: Fixture) -> None:
    """In the pass that recorded it: the released codes have no dropout here, and detrex recorded training alone."""
    part, padding = ("eval", fixture.eval_padding())
    if "eval/mid/memory" not in fixture:
        part, padding = ("trainA", fixture["in/pad_mask"])
    recorded = fixture.group(f"{part}/mid/")
    detector = fixture.build().eval()
    features = detector.neck(fixture.features(), padding)
    assert_close(features.tokens, recorded["src_flatten"], FORWARD, "neck")
    assert torch.equal(features.padding, recorded["mask_flatten"])
    assert_close(features.valid_ratios, recorded["valid_ratios"], 1e-6, "valid ratios")
    assert [list(shape) for shape in features.shapes] == recorded["spatial_shapes"].tolist()
    position = torch.cat(
        [
            (value + embed[:, None, None]).flatten(2).transpose(1, 2)
            for value, embed in zip(
                fixture.group(f"{part}/mid/pos_embed/").values(), detector.neck.level_embed, strict=True
            )
        ],
        dim=1,
    )
    visible = ~features.padding  # padded rows hold huge numbers in some recordings; nothing reads them
    assert_close(features.position[visible], position[visible], FORWARD, "position embedding")
    memory = detector.encoder(features)
    assert_close(memory.tokens[visible], recorded["memory"][visible], FORWARD, "memory")


@torch.no_grad()
def test_selection(fixture: Fixture) -> None:
    detector = built(fixture)
    memory = detector.encoder(detector.neck(fixture.features(), fixture.eval_padding()))
    if "eval/mid/topk_indices" in fixture and not fixture.ties:
        index = detector.selection.select(
            detector.selection.proposals(anchor_tokens(memory)), detector.selection.num_queries
        )
        assert torch.equal(index, fixture["eval/mid/topk_indices"])
    (initial,) = detector.selection(memory, training=False)
    for kind in ("enc", "interm"):
        if f"eval/{kind}/pred_logits" in fixture and initial.predictions is not None:
            assert_close(initial.predictions.logits, fixture[f"eval/{kind}/pred_logits"], FORWARD, "encoder logits")
            assert_close(initial.predictions.boxes, fixture[f"eval/{kind}/pred_boxes"], FORWARD, "encoder boxes")
    queries = detector.compose_queries((initial,), None)
    assert_close(queries.content, fixture["eval/mid/dec_init_tgt"], FORWARD, "content")
    if "eval/mid/dec_init_ref_unsig" in fixture:
        assert_close(queries.boxes, fixture["eval/mid/dec_init_ref_unsig"].sigmoid(), FORWARD, "references")
    else:
        assert_close(queries.boxes, fixture["eval/mid/dec_init_ref"], FORWARD, "references")


@torch.no_grad()
def test_evaluation(fixture: Fixture) -> None:
    detector = built(fixture)
    _, predictions = all_layers(detector, fixture)
    for each in predictions:
        prefix = "eval/" if each.branch is Branch.ONE_TO_ONE else "eval/o2m/"
        prefix += "" if each.is_last else f"aux{each.layer}/"
        assert_close(each.logits, fixture[prefix + "pred_logits"], FORWARD, prefix + "logits")
        assert_close(each.boxes, fixture[prefix + "pred_boxes"], FORWARD, prefix + "boxes")
    (last,) = detector.predict(fixture.features(), fixture.eval_padding())
    (read,) = (each for each in predictions if each.is_last and each.branch is Branch.ONE_TO_ONE)
    if detector.decoder.has_second_stream:  # with other rows beside them, products are rounded in another way
        assert_close(last.logits, read.logits, 1e-5, "logits without the second stream")
    else:
        assert torch.equal(last.logits, read.logits)


@torch.no_grad()
def test_postprocess(fixture: Fixture) -> None:
    detector = built(fixture)
    (last,) = detector.predict(fixture.features(), fixture.eval_padding())
    sizes = [tuple(size) for size in fixture["in/orig_sizes"].tolist()]
    clipped = fixture.adapter.startswith("detrex")
    detector.postprocess.clip = clipped
    for image, instances in enumerate(detector.postprocess(last.logits, last.boxes, sizes)):
        recorded = fixture.group(f"eval/post/{image}/")
        assert_close(instances.scores, recorded["scores"], FORWARD, "scores")
        assert torch.equal(instances.pred_classes, recorded["labels"])
        assert_close(instances.pred_boxes.tensor, recorded["boxes"], FORWARD, "boxes")


def train(fixture: Fixture, which: str) -> tuple[QueryDetector, dict[str, Tensor], tuple[PredictionSet, ...], dict]:
    """A recorded training pass with our detector: features with gradients, predictions and losses."""
    return _train(fixture.name, which)


@cache
def _train(name: str, which: str) -> tuple[QueryDetector, dict[str, Tensor], tuple[PredictionSet, ...], dict]:
    fixture = load(name)
    detector = fixture.build().train()
    targets = fixture.targets(which)
    fixture.replay(detector, which, targets)
    features = {name: value.clone().requires_grad_() for name, value in fixture.features().items()}
    predictions = detector.predict(features, fixture["in/pad_mask"], targets)
    return detector, features, predictions, detector.criterion(predictions, targets)


def without_patterns(selection: torch.nn.Module, content: Tensor) -> Tensor:
    """The contents (B, Q, C) of a selection before patterns are added to them, as they are recorded."""
    patterns = getattr(selection, "patterns", None)
    return (
        content if patterns is None else content - patterns.weight.repeat_interleave(len(selection.anchors.weight), 0)
    )


def test_denoising_queries(fixture: Fixture, which: str) -> None:
    if f"train{which}/dn/query_label" not in fixture:
        pytest.skip("no denoising recorded")
    detector = fixture.build().train()
    targets = fixture.targets(which)
    (extra,) = detector.denoising(targets, fixture.draws(which, targets))
    content, boxes = extra.content, extra.boxes
    if "eval/mid/topk_indices" not in fixture:  # matching queries of a table are recorded behind the denoising ones
        memory = detector.encoder(detector.neck(fixture.features(), fixture["in/pad_mask"]))
        (matching,) = detector.selection(memory, training=True)
        found = without_patterns(detector.selection, matching.content)
        content, boxes = (torch.cat(both, 1) for both in ((content, found), (boxes, matching.boxes)))
    assert_close(content, fixture[f"train{which}/dn/query_label"], 1e-6, "content")
    assert_close(boxes, fixture[f"train{which}/dn/query_bbox_unsig"].sigmoid(), 1e-5, "boxes")
    recorded = fixture[f"train{which}/dn/attn_mask"]
    primary = replace(extra.group, name="primary", start=len(extra.group), stop=len(recorded), role=Role.MATCHING)
    primary = replace(primary, visible_groups=(), blocks=None, known=None)
    blocked = blocked_pairs((extra.group, primary), recorded.device)
    assert torch.equal(torch.zeros_like(recorded) if blocked is None else blocked, recorded)


def test_training_predictions(fixture: Fixture, which: str) -> None:
    if f"train{which}/out/pred_logits" not in fixture:
        pytest.skip("not recorded")
    for each in train(fixture, which)[2]:
        prefix = f"train{which}/out/"
        if each.stage is Stage.ENCODER:
            prefix += "interm/" if prefix + "interm/pred_logits" in fixture else "enc/"
        else:
            prefix += "dn/" if each.group.role is Role.DENOISING else ""
            prefix += "o2m/" if each.branch is not Branch.ONE_TO_ONE or each.group.loss_suffix == "hybrid" else ""
            prefix += "" if each.is_last else f"aux{each.layer}/"
        if each.group.role is Role.DENOISING and f"train{which}/out/dn/pred_logits_all_layers" in fixture:
            for kind in ("logits", "boxes"):
                wanted = fixture[f"train{which}/out/dn/pred_{kind}_all_layers"][each.layer]
                assert_close(getattr(each, kind), wanted, FORWARD, each.describe())
            continue
        if prefix + "pred_logits" not in fixture:
            assert each.stage is Stage.ENCODER or not len(each.group), f"{each.describe()} not recorded"
            continue
        assert_close(each.logits, fixture[prefix + "pred_logits"], FORWARD, each.describe())
        assert_close(each.boxes, fixture[prefix + "pred_boxes"], FORWARD, each.describe())


def test_matches(fixture: Fixture, which: str) -> None:
    detector, _, predictions, _ = train(fixture, which)
    targets = fixture.targets(which)
    for each in predictions:
        if each.group.role is Role.DENOISING:
            continue
        rule = next(rule for rule in detector.criterion.rules.values() if rule.selects(each))
        name = "final" if each.is_last else f"aux{each.layer}"
        if each.stage is Stage.ENCODER:
            name = "enc" if f"train{which}/match/enc/0" in fixture else "interm"
        if each.branch is not Branch.ONE_TO_ONE or each.group.loss_suffix == "hybrid":
            name = "o2m_" + name
        once = "stage1_enc" if each.stage is Stage.ENCODER else "stage2_all_layers"
        name = once if f"train{which}/match/{once}/0" in fixture else name
        found = rule.assigner(each, targets.class_agnostic() if rule.class_agnostic else targets)
        before = models_ms_detr.before_union(rule.assigner, each, targets)
        for image, assignment in enumerate(found):
            recorded = fixture[f"train{which}/match/{name}/{image}"].clone()
            recorded[1] %= max(targets.counts[image], 1)  # repeated objects count on
            replayed = not fixture.ties or f"train{which}/mid/topk_indices" in fixture
            if not replayed and name != "enc":
                assert torch.equal(assignment.objects.sort().values, recorded[1].sort().values)
                continue
            alone = before[image] if before else assignment
            if isinstance(rule.assigner, HungarianAssigner):  # the order of its pairs says nothing
                assert sorted_pairs(alone) == sorted(map(tuple, recorded.T.tolist())), (name, image)
                continue
            assert torch.equal(pairs_of(alone), recorded), (name, image)
            merged = f"train{which}/match_merged/{name}/{image}"
            if merged in fixture:
                assert sorted_pairs(assignment) == sorted(map(tuple, fixture[merged].T.tolist())), merged


def pairs_of(assignment: Assignment) -> Tensor:
    return torch.stack([assignment.queries, assignment.objects])


def sorted_pairs(assignment: Assignment) -> list[tuple[int, ...]]:
    return sorted(map(tuple, pairs_of(assignment).T.tolist()))


def our_loss_name(name: str) -> str:
    name = name.replace("loss_ce", "loss_class").replace("loss_bbox", "loss_l1")
    name = re.sub(r"^tgt_(loss_(class|l1|giou))", r"\1_dn", name)
    name = re.sub(r"(_\d+)_o2m$", r"_o2m\1", name)
    name = re.sub(r"(_\d+)?_one2many$", r"_hybrid\1", name)
    return re.sub("_interm$", "_enc", name)


def test_losses(fixture: Fixture, which: str) -> None:
    losses = train(fixture, which)[3]
    of_stream = models_dac_detr.our_stream if fixture.adapter in models_dac_detr.MODELS else str
    recorded = {our_loss_name(of_stream(name)): value for name, value in fixture.group(f"train{which}/wloss/").items()}
    for name, value in recorded.items():
        if name.endswith("_dn_enc"):
            continue
        assert abs(losses[name].item() - value.item()) <= FORWARD * max(abs(value.item()), 1e-2), name
    assert all(float(losses[name]) == 0 for name in set(losses) - set(recorded)), "losses that were not recorded"
    total = fixture[f"train{which}/total"].item()
    assert abs(sum(losses.values()).item() - total) <= FORWARD * abs(total)


def test_gradients(fixture: Fixture, which: str) -> None:
    if fixture.ties and f"train{which}/mid/topk_indices" not in fixture:
        pytest.skip("tokens of equal score were selected, and it was not recorded which")
    detector, features, _, losses = train(fixture, which)
    sum(losses.values()).backward()
    parameters = dict(detector.named_parameters())
    missing = [name for name, value in parameters.items() if value.grad is None]
    assert not missing, "every parameter gets a gradient, or training on several processes hangs"
    for name, wanted in fixture.group(f"train{which}/grad/").items():
        ours = fixture.our_name(name)
        assert_close(gradient(parameters, ours), wanted, GRADIENT, name)
    for level, wanted in fixture.group(f"train{which}/grad_feat/").items():
        assert_close(features[f"map{level}"].grad, wanted, GRADIENT, f"backbone map {level}")

    norms = fixture[f"train{which}/grad_norms"]
    aliases = {name: group for group in fixture.description["state_shared"] for name in group}
    for name, wanted in zip(fixture.description["grad_norm_names"], norms.tolist(), strict=True):
        candidates = [fixture.our_name(alias) for alias in aliases.get(name, [name])]
        ours = next(candidate for candidate in candidates if candidate in parameters)
        found = gradient(parameters, ours).norm().item()
        assert abs(found - wanted) <= GRADIENT * wanted + 1e-5 * norms.max().item(), (name, found, wanted)


def with_masks() -> list[str]:
    """Names of the fixtures that have the mask of self-attention; of our own no oracle is run to know."""
    recorded = [name for name in available() if name not in configurations()]
    masked = [name for name in recorded if "trainA/mid/dec_attn_mask" in load(name)]
    return [*masked, *own("dn_dab_deformable", "detrex_h_deformable")]


@pytest.mark.parametrize("name", parameters(with_masks()))
def test_groups_and_who_sees_whom(name: str) -> None:
    fixture = load(name)
    detector, targets = fixture.build().train(), fixture.targets("A")
    fixture.replay(detector, "A", targets)
    memory = detector.encoder(detector.neck(fixture.features(), fixture["in/pad_mask"]))
    queries = detector.compose_queries(detector.selection(memory, training=True), targets)
    blocked = blocked_pairs(queries.groups, queries.content.device)
    assert torch.equal(blocked, fixture["trainA/mid/dec_attn_mask"])
    assert_close(queries.content, fixture["trainA/mid/dec_init_tgt"], FORWARD, "content")
    assert_close(queries.boxes, fixture["trainA/mid/dec_init_ref"], FORWARD, "references")


RECORDED = re.compile(
    r"(in|extra|state|feat|feat_mask|tgt[ABC])/.+"
    r"|eval_loss/.+"
    r"|eval/(interm_matching_pre_boxes|(aux\d+/|o2m/|enc/|interm/)*(pred_logits|pred_boxes|anchors)|init_reference|mid/.+|post/.+|inference/.+)"
    r"|train[ABC]/(total|grad_norms|(dn|grad|grad_feat|loss|wloss|match|match_merged|mid|out|rng|targets_seen)/.+)"
)


def test_every_recorded_tensor_has_a_meaning(fixture: Fixture) -> None:
    assert [name for name in fixture.tensors if not RECORDED.fullmatch(name)] == []


def test_an_option_that_nothing_reads_is_an_error(fixture: Fixture) -> None:
    for where in ("config", "fixture_cfg"):
        description = copy.deepcopy(fixture.description)
        description.setdefault(where, {})["an_option_of_mine"] = 3
        with pytest.raises(KeyError, match="an_option_of_mine"):
            Fixture(fixture.name, description, fixture.tensors).build()
