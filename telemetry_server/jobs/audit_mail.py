"""The job that sends the newest checkpoint of the audit log to the privacy officers."""

from datetime import datetime

from telemetry_server.errors import Unavailable
from telemetry_server.mailer import Mailer
from telemetry_server.model import Role
from telemetry_server.store.access.audit_checkpoints import newest_note
from telemetry_server.store.access.people import addresses_with_role
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run

_TEXT = """This is a checkpoint of the audit log: the number of its entries, and its signed root.
Keep this message. If the log is rewritten or cut afterwards, this shows it:

    telemetry-server audit verify --checkpoint FILE

FILE is this message, saved as it is.

"""


def mail_audit_checkpoint(mailer: Mailer) -> Run:
    """Sends the newest checkpoint to each privacy officer. Raises Unavailable where none of them got it."""

    async def run(connection: Connection, _: datetime) -> str:
        if not mailer.is_configured:
            return "no SMTP server is set"
        note, officers = (
            await newest_note(connection),
            await addresses_with_role(connection, Role.PRIVACY_OFFICER),
        )
        if note is None or not officers:
            return "no checkpoint" if note is None else "no privacy officer"
        size = note.splitlines()[1]
        sent = [
            await mailer.send(each, f"Audit log: checkpoint of {size} entries", _TEXT + note)
            for each in officers
        ]
        if not any(sent):
            raise Unavailable("No checkpoint was sent: the SMTP server took none.")
        return f"sent the checkpoint of {size} entries to {sum(sent)} of {len(sent)}"

    return run
