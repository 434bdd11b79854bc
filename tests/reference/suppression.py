"""Slow oracles of non-maximum suppression and of what is built on it, with loops and no broadcasting."""

Box = list[float]  # x0, y0, x1, y1


def iou(box: Box, other: Box) -> float:
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (box, other)]
    return width * height / (sum(areas) - width * height)


def suppress(candidates: list[int], boxes: list[Box], threshold: float) -> list[int]:
    """What is left of candidates, best first: each is dropped that overlaps one kept before it by more."""
    kept: list[int] = []
    for candidate in candidates:
        if all(iou(boxes[candidate], boxes[other]) <= threshold for other in kept):
            kept.append(candidate)
    return kept


def select_one_by_one(
    scores: list[float],
    boxes: list[Box],
    level_sizes: tuple[int, ...],
    num_queries: int,
    share: int,
    max_candidates: int,
    threshold: float,
) -> list[int]:
    """DETA, arXiv 2212.06137, with the equal share of the released code."""
    best_first = sorted(range(len(scores)), key=lambda token: -scores[token])
    level = [number for number, size in enumerate(level_sizes) for _ in range(size)]
    kept: list[int] = []
    for number in range(len(level_sizes)):
        candidates = [token for token in best_first if level[token] == number][:max_candidates]
        kept += suppress(candidates, boxes, threshold)
    kept.sort(key=lambda token: -scores[token])
    if len(kept) < num_queries:
        return best_first[:num_queries]
    marked: set[int] = set()
    for number in range(len(level_sizes)):
        marked |= set([token for token in kept if level[token] == number][:share])
    for token in kept:
        if len(marked) < num_queries:
            marked.add(token)
    return [token for token in kept if token in marked][:num_queries]
