"""Output for people and their programs.

routes viewer recorded_views     the table of routes, who asks, and the entries of requests in the audit log
access/                          the guard, sign-in, and the pages of people, accounts and tokens
pages/ templates/ static/        pages, with render, formatting, history, verdicts and addresses
frame scope sorting chips        what pages share: the rail, product and time, sorted lists, filters in use
charts* adoption month_strip     charts as SVG; chart_axes and chart_csv
registry_forms differences       forms that show the difference before they save; csv_file
api/                             the API, with schemas, serializers, paging and openapi
query filters body responses     what a request says, and answers that are not pages
health                           /healthz and /readyz
"""
