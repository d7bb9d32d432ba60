"""The privacy policy, kept by the software: notices and levels, and the rights of those whom data is about.

store/         PostgreSQL: notices, limits of levels, erasure, access, requests, holds, restrictions
jobs           what the wing does by itself
certificates   the signed proof of an erasure
files          the data of a subject as JSON and CSV
self_service   what an installation does by its secret
fetching       how people get the data of a subject
pages          the public page, and that of the privacy officer
request_pages  the requests of data subjects
hold_pages     legal holds and restrictions
record_pages   disclosures, the register of processing, the breach kit
letters        drafts of answers
deadlines      when an answer is due
fulfilment     corrections, and limits that follow from objections
processing     the register of processing activities
breach_kit     what a breach affects, and drafts of the notices
routes         ROUTES of API and pages
"""
