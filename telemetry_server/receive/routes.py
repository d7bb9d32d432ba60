"""The routes of installations and of the shop."""

from telemetry_server.errors import (
    Gone,
    Malformed,
    NotFound,
    SlowClient,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UnsupportedEncoding,
)
from telemetry_server.receive import bundles
from telemetry_server.receive.bundles import Bundles
from telemetry_server.receive.enroll import PATH as ENROLL_PATH
from telemetry_server.receive.enroll import Enrolment, EnrolmentRequest, Enrolments
from telemetry_server.receive.pings import UploadAnswer, Uploads
from telemetry_server.receive.webhook import ShopMessageBody, ShopWebhook
from telemetry_server.routing import Access, Route

_ERRORS = (
    Malformed,
    Unauthenticated,
    SlowClient,
    TooLarge,
    UnsupportedEncoding,
    Unprocessable,
    TooManyRequests,
    Unavailable,
)


def routes(
    uploads: Uploads, enrolments: Enrolments, shop: ShopWebhook, carried: Bundles
) -> tuple[Route, ...]:
    return (
        Route(
            "POST",
            ENROLL_PATH,
            enrolments.post,
            "Get an identity",
            Access.PRODUCT_KEY,
            body=EnrolmentRequest,
            answers={201: Enrolment},
            errors=_ERRORS,
        ),
        Route(
            "POST",
            "/v1/pings",
            uploads.post,
            "Send pings",
            Access.SIGNATURE,
            body="Upload",
            answers={200: UploadAnswer},
            errors=(*_ERRORS, Gone),
        ),
        Route(
            "POST",
            bundles.PATH,
            carried.post,
            "Take a bundle that was carried over an air gap",
            Access.PUBLIC,
            body=bundles.MEDIA_TYPE,
            answers={200: bundles.MEDIA_TYPE},
            errors=(Malformed, Unauthenticated, SlowClient, TooLarge, TooManyRequests, Unavailable),
        ),
        Route(
            "POST",
            "/webhooks/shop",
            shop.post,
            "Report licenses that were sold or changed",
            Access.WEBHOOK,
            body=ShopMessageBody,
            answers={204: ""},
            errors=(Malformed, NotFound, Unauthenticated, SlowClient, TooLarge, Unprocessable, Unavailable),
        ),
    )
