"""Which content of an instance is shown, as far as a process knows: the catalog chooses later, by the same rule.

A sender whose content is kept beside another one must not be told plain success: nobody finds that content by a query.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

from schemas.events import InstanceStored

if TYPE_CHECKING:
    from datetime import datetime

# About 300 bytes each.
MOST_INSTANCES = 32_768


class KnownContents:
    """The contents that one process acknowledged last, by instance: of each the one that is shown."""

    def __init__(self, most: int = MOST_INSTANCES) -> None:
        self._most = most
        # In the order in which they were last acknowledged; a dict would look for its first entry among all deleted ones.
        self._shown = OrderedDict[tuple[str, str, str], "tuple[datetime, str]"]()

    def is_shown(self, event: InstanceStored) -> bool:
        """Note a content that is acknowledged; False if another content of its instance is shown.

        Shown is the least by moment of storing and data hash, as in operators/catalog/contents.py.
        """
        instance, content = (event.tenant, event.study_uid, event.sop_uid), (event.stored_at, event.data_hash)
        first = min(self._shown.pop(instance, content), content)
        self._shown[instance] = first
        if len(self._shown) > self._most:
            self._shown.popitem(last=False)
        return first[1] == event.data_hash
