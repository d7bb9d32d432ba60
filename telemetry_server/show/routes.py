"""All routes of this folder, in the order of the OpenAPI document."""

from telemetry_server.routing import Route
from telemetry_server.show import health, openapi, static_files
from telemetry_server.show.access import (
    account,
    invitation,
    oidc,
    passkeys,
    people,
    sign_in,
    sign_in_ways,
    tokens,
)
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
from telemetry_server.show.pages import (
    audit,
    change_list,
    customer,
    customer_forms,
    feature_list,
    installation,
    installations,
    intake,
    license_forms,
    license_upload,
    overview,
    places,
    release_list,
    server_settings,
    to_clear_up,
)
from telemetry_server.show.pages import customers as customer_pages
from telemetry_server.show.pages import license as license_page
from telemetry_server.show.pages import licenses as license_pages
from telemetry_server.show.pages import search as search_page

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *installations.ROUTES,
    *installation.ROUTES,
    *to_clear_up.ROUTES,
    *license_pages.ROUTES,
    *license_upload.ROUTES,
    *license_forms.ROUTES,
    *license_page.ROUTES,
    *customer_pages.ROUTES,
    *customer_forms.ROUTES,
    *customer.ROUTES,
    *places.ROUTES,
    *search_page.ROUTES,
    *intake.ROUTES,
    *feature_list.ROUTES,
    *release_list.ROUTES,
    *change_list.ROUTES,
    *server_settings.ROUTES,
    *audit.ROUTES,
    *sign_in.ROUTES,
    *oidc.ROUTES,
    *passkeys.ROUTES,
    *invitation.ROUTES,
    *account.ROUTES,
    *sign_in_ways.ROUTES,
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
