"""The privacy policy, kept by the software: notices and levels, and the rights of those whom data is about.

store/         PostgreSQL: versions of the notice, limits of levels, erasure, access
jobs           what the wing does by itself
certificates   the signed proof of an erasure
files          the data of a subject as JSON and CSV
self_service   what an installation does by its secret
fetching       how people get the data of a subject
pages          the public page, and that of the privacy officer
routes         ROUTES of API and pages
"""
