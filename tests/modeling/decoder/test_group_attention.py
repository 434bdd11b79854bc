import pytest
import torch
import torch.nn.functional as F

from querydet.modeling.decoder.group_attention import blocked_pairs, plan_attention
from querydet.structures import Blocks, QueryGroup, Role

CPU = torch.device("cpu")


def test_one_group_needs_no_mask() -> None:
    assert blocked_pairs((QueryGroup("primary", 0, 5),), CPU) is None


def test_an_empty_group_needs_no_mask() -> None:
    empty = QueryGroup("denoising", 0, 0, Role.DENOISING, visible_groups=("primary",), blocks=(Blocks(1, 0),))
    assert blocked_pairs((empty, QueryGroup("primary", 0, 5)), CPU) is None


def test_denoising_blocks_by_hand() -> None:
    groups = (
        QueryGroup("denoising", 0, 4, Role.DENOISING, visible_groups=("primary",), blocks=(Blocks(2, 2),)),
        QueryGroup("primary", 4, 6),
    )
    visible = torch.tensor(
        [
            [1, 1, 0, 0, 1, 1],
            [1, 1, 0, 0, 1, 1],
            [0, 0, 1, 1, 1, 1],
            [0, 0, 1, 1, 1, 1],
            [0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1],
        ]
    ).bool()
    assert torch.equal(blocked_pairs(groups, CPU), ~visible)


def test_groups_that_do_not_name_each_other_are_apart() -> None:
    blocked = blocked_pairs((QueryGroup("primary", 0, 2), QueryGroup("second", 2, 5)), CPU)
    assert blocked is not None
    assert blocked[:2, 2:].all()
    assert blocked[2:, :2].all()
    assert not blocked[:2, :2].any()
    assert not blocked[2:, 2:].any()


def test_seeing_a_group_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="sees 'primry', but the groups are"):
        plan_attention((QueryGroup("a", 0, 2, visible_groups=("primry",)), QueryGroup("primary", 2, 3)), CPU)


def matching(name: str, length: int, **more: object) -> QueryGroup:
    return QueryGroup(name, 0, length, **more)  # type: ignore[arg-type]


def denoising(host: str, length: int, block: int) -> QueryGroup:
    blocks = (Blocks(length // block, block),) * 2
    return QueryGroup(f"{host} denoising", 0, length, Role.DENOISING, visible_groups=(host,), blocks=blocks)


def placed(*groups: QueryGroup) -> tuple[QueryGroup, ...]:
    found: list[QueryGroup] = []
    for group in groups:
        found.append(group.moved(found[-1].stop if found else 0))
    return tuple(found)


def hosted(*lengths: int) -> tuple[QueryGroup, ...]:
    """Group DETR on DINO: three groups of five queries, each after that many denoising queries."""
    pairs = [
        (denoising(f"group{number}", length, 2), matching(f"group{number}", 5)) for number, length in enumerate(lengths)
    ]
    return placed(*(group for pair in pairs for group in pair))


LAYOUTS = {
    "equal groups": (placed(*(matching(name, 4) for name in "abc")), [3]),
    "denoising in each": (hosted(4, 4, 4), [3]),
    "denoising in the primary alone": (
        placed(denoising("a", 6, 3), *(matching(name, 5) for name in "abc")),
        [1, 2],
    ),
    "denoising, but no objects": (hosted(0, 0, 0), [3]),
    "denoising of different sizes": (hosted(4, 2, 2), [1, 2]),
    "an extra group of another size": (placed(matching("primary", 4), matching("hybrid", 9)), [1, 1]),
    "equal groups that are not neighbours": (placed(matching("a", 4), matching("b", 3), matching("c", 4)), [1, 1, 1]),
    "groups that see each other": (
        placed(
            matching("a", 2, visible_groups=("b",)),
            matching("b", 3),
            matching("c", 2, visible_groups=("d",)),
            matching("d", 3),
        ),
        [2],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_folding_equals_a_mask_over_all_queries_and_a_loop_over_sets(name: str) -> None:
    groups, counts = LAYOUTS[name]
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    inputs = torch.randn(2, groups[-1].stop, 8, dtype=torch.float64)
    upstream = torch.randn_like(inputs)
    plan = plan_attention(groups, CPU)
    assert [run.count for run in plan.runs] == counts

    def attend(query: torch.Tensor, value: torch.Tensor, blocked: torch.Tensor | None) -> torch.Tensor:
        return attention(query, query, value, attn_mask=blocked, need_weights=False)[0]

    def dense(x: torch.Tensor) -> torch.Tensor:
        return attend(x, x, blocked_pairs(groups, CPU))

    def loop(x: torch.Tensor) -> torch.Tensor:
        """Every query for itself, over the queries that it sees."""
        blocked = blocked_pairs(groups, CPU)
        rows = []
        for query in range(x.shape[1]):
            seen = x if blocked is None else x[:, ~blocked[query]]
            rows.append(attention(x[:, query : query + 1], seen, seen, need_weights=False)[0])
        return torch.cat(rows, dim=1)

    def mix(x: torch.Tensor) -> torch.Tensor:
        projected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
        heads = plan.mix(*(values.unflatten(-1, (2, -1)).transpose(1, 2) for values in projected))
        return attention.out_proj(heads.transpose(1, 2).flatten(2))

    results = []
    for function in (lambda x: plan.apply(attend, x, x), mix, dense, loop):
        x = inputs.clone().requires_grad_()
        attention.zero_grad()
        output = function(x)
        (output * upstream).sum().backward()
        results.append([output.detach(), x.grad, attention.in_proj_weight.grad.clone()])
    for other in results[1:]:
        for found, wanted in zip(results[0], other, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


UNEQUAL = (Blocks(3, 2), Blocks(1, 5), Blocks(0, 0))  # of three images; seven queries, so that all have padding


def different_blocks() -> tuple[QueryGroup, ...]:
    made = [
        (
            QueryGroup(f"{host} denoising", 0, 7, Role.DENOISING, visible_groups=(host,), blocks=UNEQUAL),
            matching(host, 4),
        )
        for host in ("a", "b")
    ]
    return placed(*(group for pair in made for group in pair))


def test_blocks_of_each_image_by_hand() -> None:
    blocked = blocked_pairs(different_blocks()[:2], CPU)
    assert blocked is not None
    assert blocked.shape == (3, 11, 11)
    seen = [[set((~row[:7]).nonzero()[:, 0].tolist()) for row in image[:7]] for image in blocked]
    assert seen[0] == [{0, 1}, {0, 1}, {2, 3}, {2, 3}, {4, 5}, {4, 5}, {6}]
    assert seen[1] == [{0, 1, 2, 3, 4}] * 5 + [{5, 6}] * 2
    assert seen[2] == [{0, 1, 2, 3, 4, 5, 6}] * 7
    assert not blocked[:, :, 7:].any()
    assert blocked[:, 7:, :7].all()


def test_images_with_different_blocks_attend_as_if_they_were_alone() -> None:
    """Two sets fold, and only rows of denoising queries have a mask, of their own keys."""
    groups, (query, key, value) = different_blocks(), torch.randn(3, 3, 2, 22, 4, dtype=torch.float64)
    plan = plan_attention(groups, CPU)
    (run,) = plan.runs
    assert run.count == 2
    assert [None if rows.visible is None else rows.visible.shape for rows in run.rows] == [(3, 7, 11), None]
    found = plan.mix(query, key, value)
    blocked = blocked_pairs(groups, CPU)
    assert blocked is not None
    wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=~blocked[:, None])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_an_attention_of_ones_own_gets_the_mask_of_each_set_and_image() -> None:
    groups, inputs = different_blocks(), torch.randn(3, 22, 8, dtype=torch.float64)

    def attend(query: torch.Tensor, value: torch.Tensor, blocked: torch.Tensor | None) -> torch.Tensor:
        assert blocked is not None
        return F.scaled_dot_product_attention(query, query, value, attn_mask=~blocked)

    found = plan_attention(groups, CPU).apply(attend, inputs, inputs)
    wanted = attend(inputs, inputs, blocked_pairs(groups, CPU))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_the_number_of_images_stays_free_in_exported_programs() -> None:
    class Mixed(torch.nn.Module):
        def forward(self, heads: torch.Tensor) -> torch.Tensor:
            plan = plan_attention((QueryGroup("a", 0, 3), QueryGroup("b", 3, 6)), heads.device)
            return plan.mix(heads, heads, heads)

    program = torch.export.export(
        Mixed(), (torch.randn(2, 4, 6, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
    )
    heads = torch.randn(3, 4, 6, 8)
    torch.testing.assert_close(program.module()(heads), Mixed()(heads))
