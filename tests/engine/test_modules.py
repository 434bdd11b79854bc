"""The names of the engine's package."""

import importlib
import pkgutil

import querydet.engine


def test_no_function_hides_a_module():
    modules = [module.name for module in pkgutil.iter_modules(querydet.engine.__path__)]
    for name in modules:
        module = importlib.import_module(f"querydet.engine.{name}")
        assert getattr(querydet.engine, name) is module
