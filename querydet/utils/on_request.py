"""Public names of a package that are imported when they are first used (PEP 562).

Importing a module runs the `__init__.py` of its package first. A package that offers names of many modules would
otherwise load all of them, and what they need in turn, for each of its modules.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def names_on_request(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package.

    Type checkers read the same names from imports below `TYPE_CHECKING`.

    Args:
        package: its `__name__`.
        modules: full names of modules, each with the names in it, separated by blanks. The last part of a module's own
            name stands for the module.
    """
    owners = {name: module for module, names in modules.items() for name in names.split()}

    def import_name(name: str) -> Any:
        if name not in owners:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(owners[name])
        value = module if owners[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *owners})

    return import_name, list_names
