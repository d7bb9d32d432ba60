"""The last written state of each installation: its facts need not be sent to PostgreSQL again."""

import time
from collections.abc import Sequence
from uuid import UUID

from telemetry_server.model import SignedUpload

_MOST_STATES = 200_000
_REMEMBER_STATES_SECONDS = 3600


class WrittenStates:
    """By installation, for an hour at most.

    Only committed states are added, and retention keeps a state as long as a ping refers to it.
    """

    def __init__(self) -> None:
        self.written: dict[UUID, bytes] = {}
        self._forget_at = 0.0

    def remember(self, uploads: Sequence[SignedUpload]) -> None:
        now = time.monotonic()
        if now >= self._forget_at or len(self.written) > _MOST_STATES:
            self.written.clear()
            self._forget_at = now + _REMEMBER_STATES_SECONDS
        self.written.update({upload.installation_id: upload.pings[-1].state for upload in uploads})
