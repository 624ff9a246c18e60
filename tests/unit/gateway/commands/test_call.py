"""A call becomes a request of its principal; the door's own tests give commands by it."""

from gateway.calls.call import CallMade
from gateway.commands.call import FIELDS, request_of
from operators.access.principal import Principal
from tests.support.worlds.commands import FIRST_ID

LOOPBACK = Principal("local", "loopback", "peer address")
CHOOSE = {"id": FIRST_ID, "action": "choose", "why": "corrected", "instance": "1.2.3.1", "content": "a" * 64}


def test_a_request_is_asked_by_its_principal() -> None:
    request = request_of(CallMade(LOOPBACK, {"study": "1.2.3"}, CHOOSE))

    assert (request.tenant, request.who, request.study_uid) == ("local", "loopback", "1.2.3")
    assert (request.command_id, request.action, request.why) == (FIRST_ID, "choose", "corrected")
    assert (request.instance, request.content, request.count) == ("1.2.3.1", "a" * 64, None)


def test_what_is_not_said_is_left_to_the_rules_of_requests() -> None:
    request = request_of(CallMade(LOOPBACK, {"study": "1.2.3"}, {}))

    assert (request.action, request.why, request.command_id) == ("", "", "")
    assert not {"tenant", "who"} & FIELDS.keys()
