"""A support team with its keys: an offline root, and the list that it signed, on a server of the tests."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner
from license_telemetry import Telemetry
from license_telemetry import cli as license_telemetry

from telemetry_server.cli import main


class SupportTeam:
    """Beside a running server."""

    def __init__(self, server, home: Path):
        self.server, self.home = server, home
        self.directory = Path(server.data) / "support"
        self.root = self.command("support", "keys", "root", str(home / "root.pem"))["support_root"]
        self.sign()

    def sign(self, *options):
        """Makes what is missing, has it signed and publishes it, as the operator does."""
        self.command("support", "keys", "make", "--weeks", "2", *options)
        payload = self.directory / "keys.json"
        signed = self.command("support", "keys", "sign", str(payload), "--root", str(self.home / "root.pem"))
        (self.directory / "keys.signed").write_text(signed["signed"])

    def customer(self, name="state", **options):
        """The software of a customer."""
        given = {
            "endpoint": self.server.url,
            "product_key": self.server.product_key,
            "support_root": self.root,
        }
        return Telemetry(state_dir=self.home / name, **{**given, **options})

    def license_telemetry(self, *arguments, state="state", given="", code=0):
        """The command of a customer; what it wrote to stdout or, when it failed, to stderr. `given`: what is typed."""
        options = ["--endpoint", self.server.url, "--product-key", self.server.product_key]
        options += ["--state-dir", str(self.home / state), "--support-root", self.root]
        out, error = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(error), patch.object(sys, "stdin", io.StringIO(given)):
            ended = license_telemetry.main([*arguments, *options])
        assert ended == code, f"{arguments}: {ended}\n{out.getvalue()}\n{error.getvalue()}"
        return out.getvalue() if code == 0 else error.getvalue()

    def list_grants(self, state="state"):
        return json.loads(self.license_telemetry("support", "list", "--json", state=state))["grants"]

    def open(self, case, *options, reason="a look"):
        """The opened grants of a case."""
        return self.command("support", "open", case, "--reason", reason, *options)["grants"]

    def command(self, *arguments):
        """A command on the database of the server, in this process; its JSON."""
        ran = self._run(*arguments, "--json")
        assert ran.exit_code == 0, f"{arguments}: {ran.exit_code}\n{ran.output}"
        return json.loads(ran.stdout)

    def refusal(self, *arguments):
        """What a command of the server said when it failed."""
        ran = self._run(*arguments)
        assert ran.exit_code != 0
        assert ran.stdout == ""
        return ran.stderr

    def _run(self, *arguments):
        return CliRunner().invoke(main, arguments, env=self.server.environment)
