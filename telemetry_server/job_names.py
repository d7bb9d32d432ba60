"""The names of the jobs. Imports nothing of ours."""

from enum import StrEnum


class JobName(StrEnum):
    """The jobs, by the names of the job table, the watermarks and the command "run"."""

    MAKE_PARTITIONS = "make partitions"
    ROLL_UP_PINGS = "roll up pings"
    ROLL_UP_DAYS = "roll up days"
    COUNT_ACTIVE_COPIES = "count active copies"
    ROLL_UP_COHORTS = "roll up cohorts"
    COUNT_THE_FLEET = "count the fleet"
    TAKE_BACK_FUTURE_TIMES = "take back future times"
    FORGET_OLD_PINGS = "forget old pings"
    FORGET_OLD_COUNTERS = "forget old counters"
    SHORTEN_ADDRESSES = "shorten addresses"
    EMPTY_QUARANTINE = "empty quarantine"
    FORGET_DELIVERIES = "forget deliveries"
    FORGET_ENROLMENTS = "forget enrolments"
    FORGET_SESSIONS = "forget sessions"
    FORGET_AUDIT_ENTRIES = "forget audit entries"
    FORGET_SUPPORT_GRANTS = "forget support grants"
    WRITE_AUDIT_CHECKPOINT = "write audit checkpoint"
    SEND_AUDIT_CHECKPOINT = "send audit checkpoint to witness"
    MAIL_AUDIT_CHECKPOINT = "mail audit checkpoint"
    CATCH_UP = "catch up"
    WATCH_DEADLINES = "watch deadlines"
    LOOK_UP_HOSTNAMES = "look up hostnames"
    JUDGE_INSTALLATIONS = "judge installations"
    LIST_WHAT_TO_CLEAR_UP = "list what to clear up"
    KEEP_TO_LEVELS = "keep to levels"
    CARRY_OUT_ERASURES = "carry out erasures"
