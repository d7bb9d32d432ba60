"""What a vendor would build alone, started beside our PostgreSQL with tables of its own."""

import subprocess
import venv
from pathlib import Path

from bench.servers import running

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent / "out" / "self_builds"
PACKAGES = ["fastapi", "uvicorn[standard]", "asyncpg", "flask", "gunicorn", "psycopg[binary,pool]"]
NAMES = {
    "FastAPI + asyncpg, one INSERT": "uvicorn with_fastapi:app --no-access-log --log-level warning --port {port} --workers {workers}",
    "Flask + psycopg, two upserts": "gunicorn with_flask:app --bind 127.0.0.1:{port} --workers {workers} --threads 16 --log-level warning --no-control-socket",
}


def self_build(name, dsn, port, workers):
    """Runs one of NAMES; gives its process."""
    if not (ENVIRONMENT / "bin" / "gunicorn").exists():
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run(
            [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", *PACKAGES], check=True
        )
    program, *arguments = NAMES[name].format(port=port, workers=workers).split()
    command = [str(ENVIRONMENT / "bin" / program), *arguments]
    return running(command, port, {"DSN": dsn}, HERE)
