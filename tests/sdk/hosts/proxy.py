"""A network with a round trip: a relay that holds everything back, the opening of a connection too."""

import socket
import threading
import time
from contextlib import suppress


class Proxy:
    """Relays 127.0.0.1:`port` to `target`; each new connection and each piece waits `seconds`, for `with`."""

    def __init__(self, target, seconds):
        self.target = target
        self.seconds = seconds
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_error):
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _address = self.listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client):
        """A kernel answers for the relay when a connection opens: its round trip is waited for here."""
        with client, suppress(OSError), socket.create_connection(self.target) as server:
            time.sleep(self.seconds)
            back = threading.Thread(target=self._copy, args=(server, client, 0.0), daemon=True)
            back.start()
            self._copy(client, server, self.seconds)
            back.join()

    @staticmethod
    def _copy(source, target, seconds):
        with suppress(OSError):
            while piece := source.recv(65536):
                time.sleep(seconds)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
