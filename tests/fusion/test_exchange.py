from torch import nn

from querydet.fusion.exchange import exchange_modules


class Other(nn.Linear):
    """Computes something else, perhaps."""


def of_rules(model, rules):
    return exchange_modules(model, None, rules)


def test_modules_are_exchanged_by_their_exact_type_wherever_they_are():
    model = nn.Sequential(nn.Linear(2, 2), nn.ModuleList([nn.ReLU(), Other(2, 2)]))
    found = of_rules(model, {nn.Linear: lambda module, exchange: nn.Identity()})
    assert [type(module) for module in found.modules()][1:] == [nn.Identity, nn.ModuleList, nn.ReLU, Other]


def test_a_rule_may_leave_a_module_whose_children_are_exchanged_then():
    model = nn.Sequential(nn.Linear(2, 2))
    rules = {nn.Sequential: lambda module, exchange: None, nn.Linear: lambda module, exchange: nn.Identity()}
    assert isinstance(of_rules(model, rules)[0], nn.Identity)


def test_a_module_that_stands_twice_is_exchanged_once():
    shared = nn.Linear(2, 2)
    found = of_rules(nn.ModuleList([shared, shared]), {nn.Linear: lambda module, exchange: nn.Identity()})
    assert found[0] is found[1]
    assert isinstance(found[0], nn.Identity)


def test_fused_modules_are_in_the_mode_of_what_they_replace():
    model = nn.ModuleList([nn.Linear(2, 2)]).eval()
    assert not of_rules(model, {nn.Linear: lambda module, exchange: nn.Identity()})[0].training
