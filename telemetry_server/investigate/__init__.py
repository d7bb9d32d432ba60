"""Investigations: leads to copies that should not exist, and the cases that people make of them.

No part of it acts on a customer: it writes to its own tables only.

rules/        the rules: <name>.sql, and <name>.stories.toml beside it
rules.py      what a rule is; parses and checks one
rule_files    reads the files of rules
owners        whose case a finding belongs to
score         what the evidence of a case says, by ratios.toml
measuring     figures against a simulated truth
store         PostgreSQL: runs rules, keeps findings and cases
finding       what a run of the rules changes
figures       what measuring and fitting read
jobs          the job "find suspicions"
case_lists    PostgreSQL: the queue of cases, one case, what people decided
case_work     PostgreSQL: what people do with a case
case_rows     PostgreSQL: the rows that a case rests on, copied and held
pivot         what shares a value, as a graph; pivot_values: PostgreSQL; who: which organisation it may be
routes        the pages and the API of cases
export        the evidence of a case: from the database into a bag, signed
evidence      what is in the bag; evidence_tables: its rows; report: what people read of it
redaction     profiles that leave addresses and people out
bag           a BagIt folder (RFC 8493), written as a stream; statement: its signature

The evidence is checked by a program that shares no code with this package: deploy/evidence_verifier.
"""
