"""A timestamp authority (RFC 3161) that is OpenSSL."""

import http.server
import shutil
import subprocess
import threading

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

TSA_CONFIG = """
[tsa]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_alg = sha256
"""


class Authority:
    """A timestamp authority: `openssl ts -reply` behind HTTP."""

    def __init__(self, directory):
        self.directory = directory
        self.answer = self.reply
        (directory / "tsa.cnf").write_text(TSA_CONFIG)
        (directory / "serial").write_text("01\n")
        (directory / "extensions").write_text("extendedKeyUsage = critical,timeStamping\n")
        self.run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=CA -days 3")
        self.run("req -new -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj /CN=TSA")
        self.run(
            "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -out tsa.pem"
        )
        authority = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                query = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/timestamp-query"
                body = authority.answer(query)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def run(self, arguments, check=True):
        command = ["openssl", *arguments.split()]
        return subprocess.run(command, cwd=self.directory, capture_output=True, check=check)

    def reply(self, query):
        (self.directory / "query").write_bytes(query)
        self.run("ts -reply -config tsa.cnf -section tsa -queryfile query -out reply")
        return (self.directory / "reply").read_bytes()

    def confirms(self, file, token):
        return self.run(f"ts -verify -data {file} -in {token} -CAfile ca.pem", check=False).returncode == 0
