"""Which instances of a request are shown, judged when all its parts are stored, and just before its response is made.

Parts end in another order than their moments of storing, so a part can be shown when it ends and not when a later one
has ended.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.intake.known_contents import KnownContents
from gateway.intake.status import NOT_SHOWN
from gateway.stow.delivery import PartResult


def judged(known: KnownContents, tenant: str, results: Sequence[PartResult]) -> tuple[PartResult, ...]:
    """Return the results with NOT_SHOWN in place of the status of each content that is not shown."""
    return tuple(
        result if _is_shown(known, tenant, result) else replace(result, status=NOT_SHOWN) for result in results
    )


def _is_shown(known: KnownContents, tenant: str, result: PartResult) -> bool:
    content = result.content
    return content is None or known.note((tenant, result.study_uid, result.sop_uid), content) == content.data_hash
