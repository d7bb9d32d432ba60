"""Templates are compiled before a page needs them."""

import jinja2

from telemetry_server.show import render


def test_no_page_waits_for_the_compiler(monkeypatch):
    render.compile_templates()
    compiled = []
    monkeypatch.setattr(jinja2.Environment, "compile", lambda *arguments, **_: compiled.append(arguments))
    assert render._environment().list_templates()
    for name in render._environment().list_templates():
        render._environment().get_template(name)
    assert compiled == []
