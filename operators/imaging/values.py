"""Values of an untrusted data set: a value that cannot be read counts as absent."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydicom import Dataset, Sequence


def value_of(data_set: Dataset, keyword: str) -> Any:
    """Return an element's value; None when it is absent, empty or unreadable."""
    try:
        value = data_set[keyword].value if keyword in data_set else None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign values
        return None
    return None if value is None or (hasattr(value, "__len__") and not len(value)) else value


def items_of(data_set: Dataset, keyword: str) -> list[Dataset]:
    """Return a sequence's items; an empty list when the element is not a sequence."""
    value = value_of(data_set, keyword)
    return list(value) if isinstance(value, Sequence) else []


def numbers_of(data_set: Dataset, keyword: str) -> list[float]:
    """Return an element's numbers; an empty list when any of its values is not a finite number."""
    value = value_of(data_set, keyword)
    if value is None or isinstance(value, bytes | Mapping):
        return []
    values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
    try:
        found = [float(item) for item in values]
    except (ValueError, TypeError, OverflowError):
        return []
    return found if np.isfinite(found).all() else []


def number_of(data_set: Dataset, keyword: str, default: float) -> float:
    """Return an element's first number; `default` without one."""
    return next(iter(numbers_of(data_set, keyword)), default)


def integer_of(data_set: Dataset, keyword: str, default: int) -> int:
    """Return an element's first number as an integer; `default` without one."""
    return int(number_of(data_set, keyword, default))


def text_of(data_set: Dataset, keyword: str, default: str) -> str:
    """Return an element's text in capitals, without spaces around it; `default` if it has none or several values."""
    value = value_of(data_set, keyword)
    return value.strip().upper() if isinstance(value, str) else default
