"""Which instances of a request are shown, judged when all its parts are stored, and just before its response is made.

Parts end in another order than their moments of storing, so a part can be shown when it ends and not when a later one
has ended. What other processes took in, or this one before it was started, the catalog knows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from time import monotonic

from gateway.intake.known_contents import KnownContents
from gateway.intake.status import NOT_SHOWN
from gateway.stow.delivery import PartResult
from operators.catalog.contents import Precedence
from operators.errors import Unavailable
from operators.tasks import supervised

# How long a response waits for the catalog, which answers in 1 ms as a rule, and longer for each further instance.
ASK_S = 0.5
ASK_EACH_S = 0.000_2
# A catalog that did not answer is not asked for so long, or each request would wait for it.
PAUSE_S = 10.0

# Study UID and SOP Instance UID.
Uids = tuple[str, str]
# Returns the shown contents of a tenant's instances as far as the catalog has them; raises Unavailable.
ShownQuery = Callable[[str, Collection[Uids]], Awaitable[Mapping[Uids, Precedence]]]


class ShownContents:
    """What the process and the catalog know of shown contents. Without an answer of the catalog nobody is warned by it."""

    def __init__(
        self, known: KnownContents, query: ShownQuery | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._known = known
        self._query = query
        self._clock = clock
        self._asks_from = 0.0

    async def judged(self, tenant: str, results: Sequence[PartResult]) -> tuple[PartResult, ...]:
        """Return the results with NOT_SHOWN in place of the status of each content that is not shown.

        The catalog is asked once for all results.
        """
        await self._learn(tenant, {(result.study_uid, result.sop_uid) for result in results if result.content})
        return tuple(
            result if self._is_shown(tenant, result) else replace(result, status=NOT_SHOWN) for result in results
        )

    def _is_shown(self, tenant: str, result: PartResult) -> bool:
        content = result.content
        if content is None:
            return True
        return self._known.note((tenant, result.study_uid, result.sop_uid), content) == content.data_hash

    async def _learn(self, tenant: str, instances: Collection[Uids]) -> None:
        """Note what the catalog shows, if it answers in time."""
        if self._query is None or not instances or self._clock() < self._asks_from:
            return
        asking = supervised("shown_contents", _answer(self._query(tenant, instances)))
        # Not wait_for, which would wait for the end of the cancelled query too.
        await asyncio.wait([asking], timeout=ASK_S + ASK_EACH_S * len(instances))
        answer = asking.result() if asking.done() and not asking.exception() else None
        if answer is None:
            asking.cancel()
            self._asks_from = self._clock() + PAUSE_S
            return
        for uids, content in answer.items():
            self._known.note((tenant, *uids), content)


async def _answer(asked: Awaitable[Mapping[Uids, Precedence]]) -> Mapping[Uids, Precedence] | None:
    try:
        return await asked
    except Unavailable:
        return None
