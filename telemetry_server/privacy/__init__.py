"""The privacy policy, kept by the software: notices and levels, and the rights of those whom data is about.

store/   PostgreSQL: versions of the notice, limits of levels, reductions
jobs     what the wing does by itself
pages    the public page, and that of the privacy officer
routes   ROUTES of API and pages
"""
