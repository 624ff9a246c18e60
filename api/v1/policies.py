"""The policies in force, and what they say of a study: GET /v1/policies and /v1/studies/{uid}/decisions. docs/policies.md."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.resources import uid_of
from api.http.problems import NOT_FOUND
from api.services import reader_of
from api.v1.answers import json_answer
from operators.catalog.projection import policy_of
from operators.catalog.revisions import revision_event
from operators.errors import BadQuery
from operators.http.problem import Problem
from operators.policies.deciding import decided_json, decisions
from operators.policies.document import described
from operators.policies.facts import facts_of
from operators.policies.kinds import KINDS
from schemas.events import PolicyChanged

NO_POLICY = "no policy of this kind has this name: GET /v1/policies lists all"
NO_REVISION = "this study has no revision, and policies are asked once it has settled: look at its UID"


async def policies(request: Request) -> Response:
    """Answer with the policies in force, in the order of their kinds and names; `kind` asks for those of one kind."""
    kinds = _kinds_of(request)
    found = [described(policy) for policy in await _in_force(request) if policy.kind in kinds]
    return json_answer(request, {"policies": found})


async def policy(request: Request) -> Response:
    """Answer with one policy: its rules, its version, and who put it."""
    wanted = (request.path_params["kind"], request.path_params["name"])
    found = next((each for each in await _in_force(request) if (each.kind, each.name) == wanted), None)
    if found is None:
        raise Problem(NOT_FOUND, "no-such-policy", NO_POLICY)
    return json_answer(request, described(found))


async def study_decisions(request: Request) -> Response:
    """Answer with what the policies in force say of a study now; `kind` asks for those of one kind."""
    kinds, study_uid, reader = _kinds_of(request), uid_of(request, "study") or "", reader_of(request)
    revision = await reader.queries.last_revision(reader.principal.tenant, study_uid)
    if revision is None:
        raise Problem(NOT_FOUND, "no-revision", NO_REVISION)
    study = revision_event(revision)
    facts, in_force = facts_of(study, datetime.now(UTC)), await _in_force(request)
    decided = [one for kind in kinds for one in decisions((each for each in in_force if each.kind == kind), facts)]
    return json_answer(request, decided_json(study, facts, decided))


async def _in_force(request: Request) -> list[PolicyChanged]:
    reader = reader_of(request)
    return [policy_of(row) for row in await reader.queries.policies(reader.principal.tenant)]


def _kinds_of(request: Request) -> tuple[str, ...]:
    asked = request.query_params.multi_items()
    if not asked:
        return tuple(KINDS)
    if len(asked) > 1 or asked[0][0] != "kind" or asked[0][1] not in KINDS:
        raise BadQuery(f"the one parameter is kind: one of {', '.join(KINDS)}")
    return (asked[0][1],)
