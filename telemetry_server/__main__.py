"""`python -m telemetry_server` is the command `telemetry-server`."""

from telemetry_server.cli import main

if __name__ == "__main__":  # server processes of "serve --workers" import this file anew
    main(prog_name="telemetry-server")
