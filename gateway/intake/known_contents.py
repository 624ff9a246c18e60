"""Which content of an instance is shown, as far as a process knows: the catalog chooses later, by the same rule.

A sender whose content is kept beside another one must not be told plain success: nobody finds that content by a query.
"""

from collections import OrderedDict

from operators.catalog.contents import Precedence
from schemas.events import InstanceStored

# About 660 bytes each: 21 MiB at most.
MOST_INSTANCES = 32_768

# Tenant, study UID, SOP Instance UID: a series is no part of an instance's key.
Instance = tuple[str, str, str]


class KnownContents:
    """The contents that one process learned of last, by instance: of each the one that is shown."""

    def __init__(self, most: int = MOST_INSTANCES) -> None:
        self._most = most
        # In the order in which they were last noted; a dict would look for its first entry among all deleted ones.
        self._shown = OrderedDict[Instance, Precedence]()

    def note(self, instance: Instance, content: Precedence) -> str:
        """Note a content of the instance, and return the data hash of the content that is shown, as far as is known."""
        first = min(self._shown.pop(instance, content), content)
        self._shown[instance] = first
        if len(self._shown) > self._most:
            self._shown.popitem(last=False)
        return first.data_hash

    def is_shown(self, event: InstanceStored) -> bool:
        """Note a content that is acknowledged; False if another content of its instance is known to be shown."""
        content = Precedence(event.stored_at, event.data_hash)
        return self.note((event.tenant, event.study_uid, event.sop_uid), content) == event.data_hash
