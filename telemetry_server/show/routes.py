"""All routes of this folder, in the order of the OpenAPI document."""

from telemetry_server.routing import Route
from telemetry_server.show import health, openapi, sign_in, static_files
from telemetry_server.show.api import changes as api_changes
from telemetry_server.show.api import customers as api_customers
from telemetry_server.show.api import export as api_export
from telemetry_server.show.api import fleet as api_fleet
from telemetry_server.show.api import installations as api_installations
from telemetry_server.show.api import licenses as api_licenses
from telemetry_server.show.api import pings as api_pings
from telemetry_server.show.api import products as api_products
from telemetry_server.show.pages import installation, installations, intake, overview

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *installations.ROUTES,
    *installation.ROUTES,
    *intake.ROUTES,
    *sign_in.ROUTES,
    *api_installations.ROUTES,
    *api_pings.ROUTES,
    *api_changes.ROUTES,
    *api_fleet.ROUTES,
    *api_export.ROUTES,
    *api_licenses.ROUTES,
    *api_customers.ROUTES,
    *api_products.ROUTES,
    *openapi.ROUTES,
    *health.ROUTES,
    *static_files.ROUTES,
)
