"""Output for people and their programs.

routes viewer addresses          the table of routes, who asks, and addresses as that viewer may see them
access/                          the guard, sign-in, and the pages of people, accounts and tokens
pages/ templates/ static/        pages, with render, charts, history, formatting and verdicts
api/                             the API, with schemas, serializers, paging and openapi
query filters body responses     what a request says, and answers that are not pages
health                           /healthz and /readyz
"""
