-- Names of operating systems are kept and compared in lower case, however they are sent: those that came before.
-- Counts of past days keep the names they were counted by until they are rebuilt.

UPDATE installation_facts SET os_name = lower(os_name) WHERE os_name <> lower(os_name);

UPDATE states
SET facts = jsonb_set(facts, '{os,name}', to_jsonb(lower(os_name)))
WHERE os_name <> lower(os_name);
