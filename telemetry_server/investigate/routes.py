"""All routes of the wing, in the order of the OpenAPI document."""

from typing import Any

from telemetry_server.errors import BadRequest, Malformed, NotFound, TooLarge, Unprocessable
from telemetry_server.investigate import case_api, case_pages, pivot_pages
from telemetry_server.investigate.case_work import Action
from telemetry_server.permissions import Permission
from telemetry_server.routing import FILE, HTML, Route, get
from telemetry_server.show.access.sign_in import FORM_ERRORS

_CASES: dict[str, Any] = {"permission": Permission.CASES, "audited": "case"}
_OF_FORMS: dict[str, Any] = {**_CASES, "page": True, "errors": (*FORM_ERRORS, NotFound)}

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/cases",
        case_pages.queue,
        "Cases, those worth a look first",
        page=True,
        parameters=case_pages.PARAMETERS,
        answers={200: HTML, 303: ""},
        errors=(NotFound,),
        **_CASES,
    ),
    get(
        "/cases/{case_id}",
        case_pages.one_case,
        "One case",
        HTML,
        (case_pages.CASE,),
        errors=(NotFound,),
        **_CASES,
    ),
    Route(
        "POST",
        "/cases/{case_id}",
        case_pages.act,
        "Do something with a case",
        parameters=(case_pages.CASE,),
        body=case_pages.CaseForm,
        answers={303: "", 422: HTML},
        **_OF_FORMS,
    ),
    Route(
        "POST",
        "/cases/{case_id}/files",
        case_pages.add_file,
        "Add a file to a case",
        files=True,
        parameters=(case_pages.CASE,),
        body=case_pages.CaseFileForm,
        answers={303: "", 422: HTML},
        **_OF_FORMS,
    ),
    get(
        "/cases/{case_id}/files/{attachment_id}",
        case_pages.file_of_case,
        "A file of a case",
        FILE,
        (case_pages.CASE, case_pages.ATTACHMENT),
        errors=(NotFound,),
        **_CASES,
    ),
    Route(
        "POST",
        "/cases/{case_id}/evidence",
        case_pages.export,
        "Export the evidence of a case",
        step_up=True,
        parameters=(case_pages.CASE,),
        body=case_pages.ExportForm,
        answers={200: "application/zip", 303: "", 403: HTML, 422: HTML},
        **_OF_FORMS,
    ),
    get(
        "/pivot",
        pivot_pages.show_pivot,
        "What shares a value",
        HTML,
        pivot_pages.PARAMETERS,
        permission=Permission.CASES,
        audited="pivot",
        errors=(NotFound,),
    ),
    get(
        "/api/v1/pivot",
        pivot_pages.list_links,
        "List what shares a value",
        pivot_pages.PivotLinks,
        pivot_pages.PARAMETERS,
        permission=Permission.CASES,
        audited="pivot",
        errors=(NotFound,),
    ),
    get(
        "/api/v1/cases",
        case_api.list_cases,
        "List cases, those worth a look first",
        case_api.CaseQueue,
        case_api.PARAMETERS,
        errors=(NotFound,),
        **_CASES,
    ),
    get(
        "/api/v1/cases/{case_id}",
        case_api.show_case,
        "Show a case",
        case_api.CaseView,
        (case_pages.CASE,),
        errors=(NotFound,),
        **_CASES,
    ),
    Route(
        "POST",
        "/api/v1/cases/{case_id}",
        case_api.act,
        "Do something with a case",
        parameters=(case_pages.CASE,),
        body=Action,
        answers={200: case_api.CaseView},
        errors=(BadRequest, Malformed, NotFound, TooLarge, Unprocessable),
        **_CASES,
    ),
)
