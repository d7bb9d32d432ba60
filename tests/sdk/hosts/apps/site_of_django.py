"""A site of Django's in one file: /7 uses feature 7."""

import sys

from counting import use
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

if not settings.configured:
    # A thread that writes to standard error while Python ends would abort it.
    quiet = {
        "version": 1,
        "disable_existing_loggers": False,
        "loggers": {"django.server": {"level": "CRITICAL"}},
    }
    settings.configure(
        DEBUG=True, SECRET_KEY="of no use", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], LOGGING=quiet
    )


def answer(_request, number=None):
    if number is not None:
        use(number)
    return HttpResponse("ok")


urlpatterns = [path("", answer), path("<int:number>", answer)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
