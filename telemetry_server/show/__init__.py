"""Output for people and their programs.

routes access sign_in viewer     the table of routes, who may see what, and the person or token that asks
pages/ templates/ static/        pages, with render, charts, history, formatting and verdicts
api/                             the API, with schemas, serializers, paging and openapi
query filters body responses     what a request says, and answers that are not pages
health                           /healthz and /readyz
"""
