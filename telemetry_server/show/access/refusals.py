"""Why a sign-in by a provider or a passkey was refused: a word for the audit log, and one for the person."""

from enum import StrEnum
from typing import Self

from telemetry_server.errors import Forbidden

_AGAIN = "Begin again on the sign-in page."
_NOT_BELIEVED = "The answer of the provider is not one to believe. Tell your administrator."
_SETTINGS = "The provider does not answer as it should. Tell your administrator."


class Why(StrEnum):
    """A reason. `meaning` is what the person sees: what to do, and not what an attacker would try next."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    # The way there and back.
    UNKNOWN_STATE = "unknown_state", f"This sign-in took too long, or was used already. {_AGAIN}"
    ANOTHER_BROWSER = "state_of_another_browser", f"This sign-in began in another browser. {_AGAIN}"
    ANOTHER_PROVIDER = "state_of_another_provider", f"This sign-in began with another provider. {_AGAIN}"
    ANOTHER_SESSION = "state_of_another_session", f"You signed in or out meanwhile. {_AGAIN}"
    WRONG_ISSUER_PARAMETER = "issuer_of_answer", _NOT_BELIEVED
    REFUSED_THERE = "refused_by_provider", "The provider did not sign you in."
    CODE_REFUSED = "code_refused", f"The provider refused the exchange. {_AGAIN}"
    UNREACHABLE = "provider_unreachable", "The provider does not answer. Try again in a few minutes."
    WRONG_METADATA = "provider_metadata", _SETTINGS

    # The ID token.
    NO_TOKEN = "no_id_token", _SETTINGS
    MALFORMED = "malformed_token", _NOT_BELIEVED
    FORBIDDEN_HEADER = "key_in_token", _NOT_BELIEVED
    ALGORITHM = "algorithm", _NOT_BELIEVED
    UNKNOWN_KEY = "unknown_key", _NOT_BELIEVED
    SIGNATURE = "signature", _NOT_BELIEVED
    ISSUER = "issuer", _NOT_BELIEVED
    AUDIENCE = "audience", _NOT_BELIEVED
    AUTHORIZED_PARTY = "authorized_party", _NOT_BELIEVED
    NONCE = "nonce", _NOT_BELIEVED
    EXPIRED = "expired", _NOT_BELIEVED
    NOT_YET_VALID = "not_yet_valid", _NOT_BELIEVED
    SUBJECT = "subject", _NOT_BELIEVED
    AUTH_TIME = "auth_time", "The provider does not say that it asked for your credentials just now."
    GROUPS = "groups", _SETTINGS
    GROUPS_LEFT_OUT = (
        "groups_left_out",
        "You are in more groups than the provider names.",
    )

    # The account here.
    NOT_LINKED = (
        "not_linked",
        'Your address has an account here. Sign in as usual, and link the provider under "My account".',
    )
    UNKNOWN_PERSON = "unknown_person", "You have no account here. Ask an administrator for one."
    NO_EMAIL = "no_email", "The provider names no e-mail address of yours that it has verified."
    REQUIRED_CLAIM = "required_claim", "Your account at the provider is not one that may sign in here."
    NO_ROLE = "no_role", "None of your groups has a role here. Ask an administrator."
    NO_SUCH_PRODUCT = "no_such_product", _SETTINGS
    DEACTIVATED = "deactivated", "Your account was deactivated."
    ANOTHER_PERSON = "another_person", "This is another account than the one that you signed in with."
    IDENTITY_TAKEN = "identity_taken", "This account of the provider belongs to another person here."

    # Passkeys.
    WRONG_CREDENTIAL = "wrong_credential", f"This passkey was not accepted. {_AGAIN}"
    UNKNOWN_CREDENTIAL = "unknown_credential", "This passkey is not known here, or was removed."
    SIGN_COUNT = "sign_count", "This passkey may have been copied. Remove it, and add a new one."


class SignInRefused(Forbidden):
    """The sign-in was refused."""

    code = "sign_in_refused"

    def __init__(self, why: Why, detail: str = "", *, email: str = "", subject: str = "") -> None:
        super().__init__(why.meaning)
        self.why, self.cause, self.email, self.subject = why, detail, email, subject
