"""Validation. Pure: what it needs is handed in, but for the field registry, which is read once.

fields schema                    the field registry, and the types and JSON Schemas that follow from it
upload ping normalise            an upload, each of its pings, and JSON that other encoders write
explain json_text                why a ping was refused; JSON examined without building it
licenses/ filters/               rows of license files; the filter language
days networks ranges             values: days of a license, IP networks, ranges of charts
"""
