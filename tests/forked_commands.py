"""The command `telemetry-server` in a process of its own, forked from one that has imported the package.

The import takes most of the processor time of a short command, and the tests run hundreds. Arguments, environment,
directory, output, exit code and signals are as from a shell; umask and limits are those of the tests. What changes the
interpreter itself (LD_PRELOAD, locale, PYTHON…) gets a new interpreter.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path

_OF_THE_INTERPRETER = ("PYTHON", "LD_", "LC_", "LANG", "FAKETIME")


def run_command(arguments, environment, cwd=None, timeout=None):
    """As subprocess.run, with the output as text."""
    command = [sys.executable, "-m", "telemetry_server", *map(str, arguments)]
    if _interpreter(environment) == _interpreter(os.environ):
        return _server().run(command, environment, str(cwd or Path.cwd()), timeout)
    return subprocess.run(
        command, env=environment, cwd=cwd, timeout=timeout, capture_output=True, text=True, check=False
    )


def _interpreter(environment):
    """PYTHONPATH names this checkout, which is imported already."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_OF_THE_INTERPRETER) and name != "PYTHONPATH"
    }


class _ForkServer:
    """Starts the process that forks; it ends with this one."""

    def __init__(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")  # a free name, without a file
        listener.listen(64)
        self._address = listener.getsockname()
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        listener.close()
        atexit.register(self._end)

    def _end(self):
        self._process.stdin.close()
        self._process.wait()

    def run(self, command, environment, cwd, timeout):
        with (
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
            Path(os.devnull).open("rb") as nothing,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.settimeout(timeout)
            connection.connect(self._address)
            files = [nothing.fileno(), output.fileno(), errors.fileno()]
            socket.send_fds(connection, [b"\n"], files)
            connection.sendall(json.dumps([command[3:], dict(environment), cwd]).encode())
            connection.shutdown(socket.SHUT_WR)
            code = _exit_code(connection, command, timeout)
            written = []
            for file in (output, errors):
                file.seek(0)
                written.append(file.read().decode())
        return subprocess.CompletedProcess(command, code, *written)


def _exit_code(connection, command, timeout):
    """Waits for the command. What ends the wait before, such as a limit of the test, ends the command."""
    with connection.makefile() as answers:
        pid = int(answers.readline() or "0")
        if not pid:
            raise RuntimeError("the process that forks the commands has ended")
        try:
            return int(answers.readline())
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if isinstance(error, TimeoutError):
                raise subprocess.TimeoutExpired(command, timeout) from None
            raise


_running = []


def _server():
    if not _running:
        _running.append(_ForkServer())
    return _running[0]


# ── in the process that forks ────────────────────────────────────────────────────────────────


def _serve(listener):
    """Forks for each connection, until the process that started it has ended."""
    from telemetry_server.cli import COMMANDS

    for where, _ in COMMANDS.values():
        import_module(f"telemetry_server.cli.{where.partition(':')[0]}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system forgets those that ended
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _answer(connection)
            os._exit(0)
        connection.close()


def _answer(connection):
    """Forks the command, and reports its process id and its exit code, negative for a signal.

    The command ends with this process, which ends with the test.
    """
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile() as asked:
        arguments, environment, cwd = json.load(asked)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become(arguments, environment, cwd, files)
    connection.sendall(f"{pid}\n".encode())
    changes = select.poll()
    changes.register(os.pidfd_open(pid), select.POLLIN)
    changes.register(connection, 0)  # only that the test closed it
    if any(event & select.POLLHUP for _, event in changes.poll()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(arguments, environment, cwd, files):
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["telemetry_server", *arguments]
    code = 1
    try:
        runpy.run_module("telemetry_server", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = 0 if end.code is None else end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))  # what the product imports is never of the tests
    _serve(socket.socket(fileno=int(sys.argv[1])))
