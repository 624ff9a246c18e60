"""The storage service: C-STORE (PS3.7 9.1.1, PS3.4 B), which stores an instance through the intake."""

from dataclasses import dataclass
from time import monotonic

import structlog

from gateway.dimse.services.service import Association, Respond, Service
from gateway.intake.accept import Incoming
from gateway.intake.spool import Body
from gateway.intake.status import FAILED, OTHER_CLASS, Status, of_rejected, of_stored, of_unavailable
from operators.dimse.commands import C_STORE, Command, response
from operators.dimse.sop_classes import is_storage
from operators.errors import Rejected, Unavailable
from schemas.telemetry import GATEWAY_INSTANCES, GATEWAY_STORE_SECONDS

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CStoreRequest:
    """A C-STORE and the instance that it sends."""

    association: Association
    context_id: int
    command: Command
    incoming: Incoming
    body: Body

    async def answer(self, respond: Respond) -> None:
        """Store the instance and respond with its status."""
        began_at = monotonic()
        try:
            status = await self._store()
        finally:
            self.body.close()
        GATEWAY_INSTANCES.labels(status.outcome).inc()
        GATEWAY_STORE_SECONDS.observe(monotonic() - began_at)
        respond(self.context_id, response(self.command, status.code, status.comment))

    def close(self) -> None:
        """Discard the part of the instance that has arrived."""
        self.body.close()

    async def _store(self) -> Status:
        try:
            receipt = await self.association.acceptance.accept(self.association.transfer, self.incoming)
        except Rejected as error:
            self.association.transfer.count_refused(error.reason)
            self._log_refusal(error.reason)
            return of_rejected(error)
        except Unavailable as error:
            self._log_refusal(error.what, why=error.why)
            return of_unavailable(error)
        except Exception:
            # An error of one instance must not lose the association's other instances.
            self.association.transfer.mark_partial()
            log.exception("instance_failed", transfer=self.association.transfer.transfer_id, hash=self.body.whole_hash)
            return FAILED
        return of_stored(receipt.event.warnings, is_shown=receipt.is_shown)

    def _log_refusal(self, reason: str, **more: str) -> None:
        transfer_id, sop_class = self.association.transfer.transfer_id, self.incoming.sop_class
        data_hash = self.body.whole_hash
        log.warning(
            "instance_refused", reason=reason, hash=data_hash, transfer=transfer_id, sop_class=sop_class, **more
        )


def begin(association: Association, command: Command, context_id: int) -> CStoreRequest:
    """Return the request of a C-STORE, with memory for its instance.

    The instance counts as one of the context's class, which is also logged: the class in the command may be any text. A
    command that names another class is refused once its data set has arrived.
    """
    context = association.agreed.contexts[context_id]
    incoming = association.acceptance.receive(context.abstract_syntax, command.sop_uid, context.transfer_syntax)
    if command.sop_class != context.abstract_syntax:
        incoming.body.fail(Rejected(OTHER_CLASS.outcome))
    return CStoreRequest(association, context_id, command, incoming, incoming.body)


STORE = Service("store", C_STORE, has_data_set=True, serves=is_storage, begin=begin)
