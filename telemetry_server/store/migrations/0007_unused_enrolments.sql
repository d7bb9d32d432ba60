-- Identities that were made and never used do not keep their parents.

COMMENT ON TABLE lineage IS
    'A row is an identity that was made because its parent''s was forked; proven with the parent''s secret. '
    'Written at enrolment. Kept as long as the installation; one that never sends a ping, 30 days by the job '
    '"forget enrolments".';
