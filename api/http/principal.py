"""Who asks, and what they may: the rule of operators/http/principal.py, its refusal as an answer."""

from starlette.types import Scope

from api.http.problems import Problem
from operators.http import principal
from operators.http.principal import Asked, NotAllowed, Principal


def principal_of(scope: Scope, tenant: str) -> Principal:
    """Return the principal of a request; raises Problem (403) with the rule that it breaks."""
    try:
        return principal.principal_of(Asked.of(scope), tenant)
    except NotAllowed as error:
        raise Problem(403, error.reason, error.advice) from None


def authorize(one: Principal, action: str, resource: str) -> None:
    """Let a principal do something, or raise Problem (403)."""
    try:
        principal.authorize(one, action, resource)
    except NotAllowed as error:
        raise Problem(403, error.reason, error.advice) from None
