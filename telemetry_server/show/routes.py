"""All routes of this folder, in the order of the OpenAPI document."""

from telemetry_server.routing import Route
from telemetry_server.show import health, openapi, static_files
from telemetry_server.show.access import account, invitation, people, sign_in, tokens
from telemetry_server.show.api import (
    active,
    changes,
    customers,
    export,
    feature_use,
    fleet,
    licenses,
    pings,
    products,
    search,
    seats,
)
from telemetry_server.show.api import installations as api_installations
from telemetry_server.show.pages import audit, installation, installations, intake, overview, places
from telemetry_server.show.pages import search as search_page

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *installations.ROUTES,
    *installation.ROUTES,
    *places.ROUTES,
    *search_page.ROUTES,
    *intake.ROUTES,
    *audit.ROUTES,
    *sign_in.ROUTES,
    *invitation.ROUTES,
    *account.ROUTES,
    *people.ROUTES,
    *tokens.ROUTES,
    *api_installations.ROUTES,
    *pings.ROUTES,
    *changes.ROUTES,
    *fleet.ROUTES,
    *active.ROUTES,
    *feature_use.ROUTES,
    *seats.ROUTES,
    *search.ROUTES,
    *export.ROUTES,
    *licenses.ROUTES,
    *customers.ROUTES,
    *products.ROUTES,
    *openapi.ROUTES,
    *health.ROUTES,
    *static_files.ROUTES,
)
