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
        self._written: dict[UUID, bytes] = {}
        self._forget_at = 0.0

    @property
    def written(self) -> dict[UUID, bytes]:
        now = time.monotonic()
        if now >= self._forget_at or len(self._written) > _MOST_STATES:
            self._written.clear()
            self._forget_at = now + _REMEMBER_STATES_SECONDS
        return self._written

    def remember(self, uploads: Sequence[SignedUpload]) -> None:
        self.written.update({upload.installation_id: upload.pings[-1].state for upload in uploads})
