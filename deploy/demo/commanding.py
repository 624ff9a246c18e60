"""Give commands about a study over REST, as any program may."""

from typing import Any

import requests

from deploy.demo.dicomweb import TIMEOUT_S, failures_of


def give(origin: str, study_uid: str, action: str, why: str) -> None:
    """Ask the web origin for an action; raises Failed with the server's reason."""
    asked: dict[str, Any] = {"action": action, "why": why}
    path = f"/v1/studies/{study_uid}/commands"
    with failures_of(f"POST {path}"), requests.Session() as session:
        # A proxy for the internet does not reach this machine.
        session.trust_env = False
        session.post(origin + path, json=asked, timeout=TIMEOUT_S).raise_for_status()
