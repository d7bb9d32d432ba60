"""Queries the real server over HTTP, one question after the other, and measures each answer."""

import http.client
import math
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

TIMES = 40
WARM_UP = 3
STARTS = 8
_GOOD = 200


@dataclass
class Asked:
    """The durations of the answers to a question, in milliseconds; `refused` counts the others by status."""

    name: str
    milliseconds: list = field(default_factory=list)
    refused: dict = field(default_factory=dict)

    @property
    def p50(self):
        return self._at(0.5)

    @property
    def p95(self):
        return self._at(0.95)

    @property
    def p99(self):
        return self._at(0.99)

    def _at(self, share):
        ordered = sorted(self.milliseconds)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.inf


class Program:
    """A client with a token, on one kept-alive connection."""

    def __init__(self, port, token):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path):
        self.connection.request("GET", path, headers=self.headers)
        return self.connection.getresponse()


def ask(program, question, values):
    """Asks TIMES times, each time with other values, after a few that do not count."""
    asked = Asked(question.name)
    for number in range(WARM_UP + TIMES):
        milliseconds = _ask(program, question, values, number, asked)
        if number >= WARM_UP:
            asked.milliseconds += milliseconds
    return asked


def ask_first(serving, questions, values, token):
    """What each question takes the first time it is asked after a start, in STARTS starts.

    `serving()` is a server for a block, and gives its port. Each start begins with another question.
    """
    found = {question.name: Asked(question.name) for question in questions}
    for number in range(STARTS):
        begin = number * len(questions) // STARTS
        with serving() as port:
            program = Program(port, token)
            for question in (*questions[begin:], *questions[:begin]):
                asked = found[question.name]
                asked.milliseconds += _ask(program, question, values, number, asked)
    return list(found.values())


def all_of(asked):
    """The answers to all questions as if they were one."""
    return Asked("all", [one for each in asked for one in each.milliseconds])


def _ask(program, question, values, number, asked):
    """The milliseconds of a good answer, as a list; a refusal is noted."""
    path = filled_in(question, values, number)
    started = time.perf_counter()
    answer = program.get(path)
    answer.read()
    milliseconds = (time.perf_counter() - started) * 1e3
    if answer.status == _GOOD:
        return [milliseconds]
    asked.refused[answer.status] = asked.refused.get(answer.status, 0) + 1
    return []


def stream(program, question, values):
    """Rows per second of an export over HTTP."""
    started = time.perf_counter()
    answer = program.get(filled_in(question, values, 0))
    lines = 0
    while chunk := answer.read(1 << 20):
        lines += chunk.count(b"\n")
    seconds = time.perf_counter() - started
    if answer.status != _GOOD:
        raise SystemExit(f"{question.name}: {answer.status}")
    return lines / seconds


def filled_in(question, values, number):
    """The path of the n-th request."""
    chosen = {name: many[number % len(many)] for name, many in values.items() if many}
    parameters = {name: value.format_map(chosen) for name, value in question.parameters.items()}
    path = question.path.format_map(chosen)
    return f"{path}?{urlencode(parameters)}" if parameters else path
