"""A load generator that sends as the SDK does: each upload on a new connection that it asks to close.

    python -m bench.new_connections PORT CLIENTS SECONDS REQUESTS

Head and body go in two writes, as through most proxies. REQUESTS is a file for requests.lua; each is sent once,
in order. Prints the numbers of a `Load` in JSON: answers a second, milliseconds from connect() to the end of the
answer, answers other than 200, and seconds of CPU from the first connection on.
"""

import json
import select
import socket
import sys
import time
from pathlib import Path


def read(path):
    """Head and body of each request."""
    data, at = memoryview(Path(path).read_bytes()), 0
    while at < len(data):
        at += 8 + (length := int(bytes(data[at : at + 8])))
        head, _, body = bytes(data[at - length : at]).partition(b"\r\n\r\n")
        yield head + b"\r\nConnection: close\r\n\r\n", body


def send(port, clients, seconds, requests):
    """Milliseconds each answer took, and the number of those that were refused."""
    poll, waiting, took, refused = select.epoll(), {}, [], 0
    turn, ends = iter(requests), time.perf_counter() + seconds

    def connect():
        started, connection = time.perf_counter(), socket.socket()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect(("127.0.0.1", port))
        for part in next(turn):
            connection.send(part)
        poll.register(connection, select.EPOLLIN)
        waiting[connection.fileno()] = connection, started, bytearray()

    for _ in range(clients):
        connect()
    while waiting:
        for descriptor, _ in poll.poll():
            connection, started, answer = waiting[descriptor]
            came = connection.recv(65_536)
            answer += came
            if _is_whole(answer):
                took.append((time.perf_counter() - started) * 1e3)
                refused += not answer.startswith(b"HTTP/1.1 200 ")
            elif came:
                continue
            else:
                refused += 1
            del waiting[descriptor]
            connection.close()
            if time.perf_counter() < ends:
                connect()
    return took, refused


def _is_whole(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(length) and int(length) == len(body)


if __name__ == "__main__":
    port, clients, seconds, path = sys.argv[1:]
    requests = list(read(path))
    cpu, started = time.process_time(), time.perf_counter()
    took, refused = send(int(port), int(clients), float(seconds), requests)
    took.sort()
    found = {
        "rate": len(took) / (time.perf_counter() - started),
        "p50_ms": took[len(took) // 2],
        "p99_ms": took[len(took) * 99 // 100],
        "refused": refused,
        "cpu_seconds": time.process_time() - cpu,
    }
    sys.stdout.write(json.dumps(found) + "\n")
