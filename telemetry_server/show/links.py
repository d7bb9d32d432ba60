"""Addresses of pages. Pure."""

from typing import Any
from urllib.parse import urlencode


def link(path: str, **parameters: Any) -> str:
    """`path` with a query of the parameters that are not empty."""
    query = urlencode({name: value for name, value in parameters.items() if value not in {None, ""}})
    return f"{path}?{query}" if query else path
