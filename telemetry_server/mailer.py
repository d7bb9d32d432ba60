"""E-mail to people, as plain text, where an SMTP server is configured. Needs the extra "mail"."""

from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit

from telemetry_server.errors import SettingsError
from telemetry_server.logs import Severity, describe, log
from telemetry_server.settings import Settings

_SECONDS = 10.0
_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}


class Mailer:
    """Sends from one process. Where nothing is configured, `send` says so and does nothing."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError where SMTP is configured and aiosmtplib is missing."""
        self._server, self._sender = settings.smtp_url, settings.mail_from
        if self._server and find_spec("aiosmtplib") is None:
            raise SettingsError(
                "TELEMETRY_SMTP_URL is set, and aiosmtplib is not installed. "
                'Run: pip install "license-telemetry-server[mail]"'
            )

    @property
    def is_configured(self) -> bool:
        return bool(self._server)

    async def send(self, to: str, subject: str, text: str) -> bool:
        """Whether the server took the message; a failure is logged, without the address."""
        if not self._server:
            return False
        import aiosmtplib  # noqa: PLC0415  an extra

        url = urlsplit(self._server)
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, to, subject
        message["Date"], message["Message-ID"] = formatdate(), make_msgid()
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        try:
            await aiosmtplib.send(
                message,
                hostname=url.hostname,
                port=url.port or _PORTS[url.scheme],
                username=unquote(url.username) if url.username else None,
                password=unquote(url.password) if url.password else None,
                use_tls=url.scheme == "smtps",
                start_tls=url.scheme == "smtp+starttls",
                timeout=_SECONDS,
            )
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            log("e-mail not sent", Severity.WARNING, **describe(error))
            return False
        return True
