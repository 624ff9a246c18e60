"""Read a store request from its address and headers (PS3.18 10.5.1)."""

from dataclasses import dataclass

from starlette.types import Scope

from gateway.stow.multipart import MediaType
from gateway.stow.response import MEDIA_TYPES
from operators.access.principal import Principal
from operators.errors import Rejected
from operators.http.accept import accepted, choose
from operators.http.address import ROOT, service_address
from operators.http.media_types import DICOM
from operators.http.principal import RequestHead
from operators.http.problem import Problem, bad_uid
from schemas.objects import is_uid

STUDIES = f"{ROOT}/studies"


@dataclass(frozen=True)
class StoreRequest:
    """A request to store instances."""

    principal: Principal
    # The only study whose instances are accepted; empty: any study.
    study: str
    # The boundary of a multipart body; None: the body is a single instance.
    boundary: str | None
    # The Content-Length, if there is one.
    length: int | None
    # The media type of the response.
    media_type: str
    # The address of the DICOMweb service, without a slash at its end.
    base: str
    # The address that the request came from.
    address: str = ""

    @classmethod
    def of(cls, scope: Scope, head: RequestHead, principal: Principal, public_url: str = "") -> "StoreRequest":
        """Read the request; raises Problem when this door cannot answer it."""
        study = study_in(scope["path"]) or ""
        if study and not is_uid(study):
            raise bad_uid()
        media_type = choose(accepted(scope), MEDIA_TYPES)
        if media_type is None:
            raise Problem(406, "not-acceptable", "accept application/dicom+json or application/dicom+xml")
        return cls(
            principal=principal,
            study=study,
            boundary=_boundary(head),
            length=head.length,
            media_type=media_type,
            base=service_address(scope, public_url),
            address=head.peer,
        )


def study_in(path: str) -> str | None:
    """Return the study in the address of a store request, '' when it names none; None for every other address."""
    if path == STUDIES:
        return ""
    study = path.removeprefix(f"{STUDIES}/")
    return None if study in ("", path) or "/" in study else study


def _boundary(head: RequestHead) -> str | None:
    """Return the boundary of a multipart body, None for a single instance; raises Problem for any other body."""
    if head.single("content-encoding").lower() not in ("", "identity"):
        raise Problem(415, "content-encoding", "send the request without a Content-Encoding")
    try:
        content_type = MediaType.of(head.single("content-type"))
    except Rejected:
        content_type = MediaType("", {})
    if content_type.name == DICOM:
        return None
    if content_type.name != "multipart/related" or content_type.parameters.get("type", DICOM).lower() != DICOM:
        advice = f'send multipart/related; type="{DICOM}" or {DICOM}: metadata with bulk data is not accepted'
        raise Problem(415, "media-type", advice)
    return content_type.parameters.get("boundary", "")
