"""The REST call that puts a policy: PUT /v1/policies/{kind}/{name}."""

import re
from collections.abc import Mapping

import orjson

from gateway.calls.call import Call, CallAnswer, CallMade
from gateway.policies.answer import answer
from gateway.policies.putting import Policies
from gateway.policies.request import PolicyRequest
from operators.errors import RETRY_AFTER, Unavailable
from operators.http.problem import Problem
from operators.policies.document import MOST_BYTES, BadPolicy

PATH = re.compile(r"/v1/policies/(?P<kind>[^/]+)/(?P<name>[^/]+)")
# A document and the longest reason, which has 12 KiB as escapes of JSON.
BODY_BYTES = MOST_BYTES + 16 * 1024
FIELDS: Mapping[str, type] = {"rules": list, "why": str, "if_version": int}
SEND_AGAIN = "a server does not answer, and perhaps the version is stored already: send it again"


def policy_call(policies: Policies) -> Call:
    """Return the call that puts a policy."""

    async def carry_out(made: CallMade) -> CallAnswer:
        try:
            put = await policies.put(request_of(made))
        except BadPolicy as error:
            raise Problem(400, "bad-policy", "; ".join(error.problems)) from error
        except Unavailable as error:
            raise Problem(503, f"{error.what}-unavailable", SEND_AGAIN, RETRY_AFTER) from error
        return CallAnswer(200 if put.is_repeat else 201, answer(put))

    return Call("a policy", "PUT", PATH, BODY_BYTES, FIELDS, carry_out, ("GET", "HEAD"))


def request_of(made: CallMade) -> PolicyRequest:
    """Return the request that a call makes; raises Problem for rules that are nested too deeply."""
    said = made.said
    try:
        document = orjson.dumps({name: said[name] for name in ("rules",) if name in said})
    except TypeError as error:
        raise Problem(400, "bad-json", "rules are not nested so deeply") from error
    return PolicyRequest(
        tenant=made.principal.tenant,
        kind=made.place["kind"],
        name=made.place["name"],
        who=made.principal.name,
        why=said.get("why", ""),
        document=document,
        if_version=said.get("if_version"),
    )
