"""Pings as they were written before migration 0017."""

AS_BEFORE = """
    UPDATE pings AS g SET
        (reason_code, verdict_code, used_since, counters) = (NULL, NULL, NULL, NULL),
        (details, features, verdict) = (v.details, v.features, v.verdict)
    FROM v_pings AS v
    WHERE v.installation_id = g.installation_id AND v.sequence = g.sequence
"""
