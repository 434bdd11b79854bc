"""The order of query groups in the decoder: groups that see each other are neighbours."""

from querydet.structures import InitialQueries


def order_groups(matching: tuple[InitialQueries, ...], denoising: tuple[InitialQueries, ...]) -> list[InitialQueries]:
    """Sort groups so that each denoising group comes before the first matching group that it sees, as its neighbour.

    Raises:
        ValueError: a denoising group sees none of the matching groups.
    """
    names = [queries.group.name for queries in matching]
    for queries in denoising:
        if not set(queries.group.visible_groups) & set(names):
            raise ValueError(
                f"the denoising group '{queries.group.name}' sees {list(queries.group.visible_groups)}, but the "
                f"selection makes {names}: name one of them in its visible_groups"
            )
    ordered: list[InitialQueries] = []
    for host in matching:
        ordered += [
            queries
            for queries in denoising
            if host.group.name == next(name for name in names if name in queries.group.visible_groups)
        ]
        ordered.append(host)
    return ordered
