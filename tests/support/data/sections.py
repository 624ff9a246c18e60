"""Every section of settings that the archive has, as they stand in its modules."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from schemas import settings
from schemas.settings.reading import to_env


def every_section() -> list[type[Any]]:
    """Return the sections, those of one module in their order."""
    modules = [import_module(f"{settings.__name__}.{found.name}") for found in iter_modules(settings.__path__)]
    classes = [(module, one) for module in modules for one in vars(module).values() if hasattr(one, "section")]
    return [one for module, one in classes if one.__module__ == module.__name__]


def names_of(section: type[Any]) -> list[str]:
    """Return the variables of a section."""
    return list(to_env(section()))
