"""Parameter groups and schedules."""

import pytest
import torch
from torch import nn

from querydet.engine.solver import EpochScheduler, MultiStepEpochs, build_adamw, lr_scale, parameter_groups


class Detector(nn.Module):
    """Parts with the names that the rules look for."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.sampling_offsets = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def names(model, group):
    wanted = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def test_groups_of_dino():
    model = Detector()
    backbone, other = parameter_groups(model, 1e-4, 1e-4, {"backbone": 0.1})
    assert names(model, backbone) == {name for name, _ in model.named_parameters() if name.startswith("backbone")}
    assert len(other["params"]) == 6
    assert (backbone["lr"], other["lr"]) == (pytest.approx(1e-5), 1e-4)
    assert backbone["weight_decay"] == other["weight_decay"] == 1e-4


def test_first_matching_rule_counts():
    model = Detector()
    groups = parameter_groups(model, 1.0, 0.0, {"backbone.0": 0.5, "backbone": 0.1, "sampling_offsets": 0.2})
    assert {group["name"]: group["lr"] for group in groups} == {
        "backbone.0": 0.5,
        "backbone": 0.1,
        "sampling_offsets": 0.2,
        "other": 1.0,
    }


def test_frozen_parameters_are_left_out_but_match_a_rule():
    model = Detector()
    model.backbone.requires_grad_(False)
    (other,) = parameter_groups(model, 1.0, 0.1, {"backbone": 0.1})
    assert other["name"] == "other"


def test_rule_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match=r"contains \['bakbone'\].*'backbone', 'head'"):
        parameter_groups(Detector(), 1.0, 0.1, {"bakbone": 0.1})


def test_model_without_trainable_parameters_is_refused():
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_adamw(Detector().requires_grad_(False))


def test_schedule_drops_at_the_exact_iteration():
    schedule = MultiStepEpochs([2, 3.5], gamma=0.1)
    factors = [schedule.factor(i, iterations_per_epoch=4) for i in range(16)]
    assert factors == pytest.approx([1.0] * 8 + [0.1] * 6 + [0.01] * 2)


def test_warmup_rises_linearly_and_ends():
    schedule = MultiStepEpochs([], warmup_epochs=1, warmup_factor=0.2)
    assert [schedule.factor(i, 4) for i in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_milestones_have_to_increase():
    with pytest.raises(ValueError, match="have to increase"):
        MultiStepEpochs([11, 11])


def test_scheduler_resumes_and_keeps_the_ratio_of_the_groups():
    def build():
        optimizer = build_adamw(Detector(), lr=1.0, lr_factors={"backbone": 0.1})
        return optimizer, EpochScheduler(optimizer, MultiStepEpochs([1]), iterations_per_epoch=3)

    optimizer, scheduler = build()
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    resumed_optimizer, resumed = build()
    resumed_optimizer.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for current, running in ((optimizer, scheduler), (resumed_optimizer, resumed)):
        current.step()
        running.step()
        assert [group["lr"] for group in current.param_groups] == pytest.approx([0.01, 0.1])


def test_optimizer_state_holds_plain_values(tmp_path):
    from querydet.config import get_config

    node = get_config("common/optim.py").optimizer
    optimizer = build_adamw(Detector(), betas=node.betas, lr_factors=node.lr_factors)
    torch.save(optimizer.state_dict(), tmp_path / "state.pth")
    torch.load(tmp_path / "state.pth", weights_only=True)


@pytest.mark.parametrize(("rule", "base", "message"), [("cubic", 16, "null, linear or sqrt"), ("sqrt", 0, "positive")])
def test_wrong_scaling_is_refused(rule, base, message):
    with pytest.raises(ValueError, match=message):
        lr_scale(rule, 8, base)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_numbers_of_a_schedule_are_finite_and_not_negative(value):
    for name, argument in {
        "milestones": [1, value],
        "gamma": value,
        "warmup_epochs": value,
        "warmup_factor": value,
    }.items():
        with pytest.raises(ValueError, match=rf"lr_multiplier\.{name} has to be of finite numbers"):
            MultiStepEpochs(**{name: argument})


def test_norms_may_have_a_weight_decay_of_their_own():
    model = nn.ModuleDict({"backbone": nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), "norm": nn.GroupNorm(1, 2)})
    groups = parameter_groups(model, 1.0, 0.5, {"backbone": 0.1}, norm_weight_decay=0.0)
    found = {group["name"]: (group["lr"], group["weight_decay"], len(group["params"])) for group in groups}
    assert found == {"backbone": (0.1, 0.5, 2), "backbone norms": (0.1, 0.0, 2), "other norms": (1.0, 0.0, 2)}
    assert len(parameter_groups(model, 1.0, 0.5, {"backbone": 0.1})) == 2


class Tables(nn.Module):
    """A level embedding that is a parameter, one that is a table, and a norm; as Mask2Former's."""

    def __init__(self):
        super().__init__()
        self.neck = nn.Module()
        self.neck.level_embed = nn.Parameter(torch.zeros(3, 2))
        self.queries = nn.ModuleList(nn.Embedding(4, 2) for _ in range(2))
        self.level_embed = nn.Embedding(3, 2)
        self.norm = nn.LayerNorm(2)


def decay_of_each(model, **settings):
    """The weight decay of every parameter by its name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 1.0, 0.05, **settings)
    return {names[parameter]: group["weight_decay"] for group in groups for parameter in group["params"]}


def test_tables_of_embeddings_may_have_a_weight_decay_of_their_own():
    found = decay_of_each(Tables(), embedding_weight_decay=0.0)
    assert {name for name, decay in found.items() if decay == 0} == {
        *("queries.0.weight", "queries.1.weight", "level_embed.weight"),
    }
    assert found["neck.level_embed"] == found["norm.weight"] == 0.05, "parameters of no table"


def test_norms_and_tables_keep_their_decays_apart():
    model = Tables()
    found = decay_of_each(model, norm_weight_decay=0.1, embedding_weight_decay=0.2)
    assert (found["norm.bias"], found["level_embed.weight"], found["neck.level_embed"]) == (0.1, 0.2, 0.05)
    names = [group["name"] for group in parameter_groups(model, 1.0, 0.05, {"queries": 2.0}, 0.1, 0.2)]
    assert names == ["other", "queries embeddings", "other embeddings", "other norms"]
    optimizer = build_adamw(model, weight_decay=0.05, norm_weight_decay=0.1, embedding_weight_decay=0.2)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.2, 0.1]


def test_weight_decays_by_name_come_before_those_of_kinds():
    found = decay_of_each(
        Tables(), norm_weight_decay=0.1, weight_decays={"queries.1": 0.3, "queries": 0.4, "norm.weight": 0.5}
    )
    assert (found["queries.0.weight"], found["queries.1.weight"]) == (0.4, 0.3)
    assert (found["norm.weight"], found["norm.bias"], found["level_embed.weight"]) == (0.5, 0.1, 0.05)
    names = [
        group["name"] for group in parameter_groups(Tables(), 1.0, 0.05, {"queries": 2.0}, None, None, {"norm": 0})
    ]
    assert names == ["other", "queries", "other norm"]
    optimizer = build_adamw(Tables(), weight_decay=0.05, weight_decays={"norm": 0.0})
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0]


def test_a_weight_decay_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match=r"optimizer.weight_decays: no parameter's name contains \['pos_embed'\]"):
        parameter_groups(Detector(), 1.0, 0.1, weight_decays={"pos_embed": 0.0})
