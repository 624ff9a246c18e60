"""An archive as the benchmarks see it: Fluoro, or Orthanc beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.local.running import RunningStack
from deploy.local.supervision.processes import Process
from tests.audit.collect.api import number
from tests.support.senders.sender import Peer

FLUORO = "Fluoro"
INSTANCES_OF_STUDY = "00201208"


@dataclass(frozen=True)
class Archive:
    """An archive's name, its two doors, and the present head process of each of its servers."""

    name: str
    peer: Peer
    dicomweb: str
    heads: Callable[[], Mapping[str, Process]]

    def counted(self, client: httpx.Client, study_uid: str) -> int:
        """Return how many instances QIDO counts in a study; 0 for an unknown study."""
        parameters = {"StudyInstanceUID": study_uid, "includefield": INSTANCES_OF_STUDY}
        found = self.search(client, "studies", **parameters)
        return number(found[0], INSTANCES_OF_STUDY) or 0 if found else 0

    def search(self, client: httpx.Client, resource: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the matches of a search (PS3.18 10.6)."""
        headers = {"Accept": "application/dicom+json"}
        answer = client.get(f"{self.dicomweb}/{resource}", params=parameters, headers=headers)
        answer.raise_for_status()
        return list(answer.json()) if answer.status_code != httpx.codes.NO_CONTENT else []


def fluoro(stack: RunningStack) -> Archive:
    """Return the archive that a running stack is."""

    def heads() -> dict[str, Process]:
        return {name: server.process for name, server in stack.state().servers.items()}

    return Archive(FLUORO, Peer(stack.dimse_port, ae_title=stack.ae_title), f"{stack.api_url}/dicomweb", heads)
