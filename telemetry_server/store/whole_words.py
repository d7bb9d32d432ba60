"""Where a text names someone as a whole word: a@example.com is not in ba@example.com. In lower case."""

import re

BEFORE = r"(^|%[0-9a-f]{2}|\\(u[0-9a-f]{4}|[bfnrt])|[^[:alnum:]._%+-])"
"""What may stand before it, for PostgreSQL; also an escaped character, as queries and JSON have them."""
AFTER = r"($|[^[:alnum:]._@-]|[.]($|[^[:alnum:]]))"
"""What may stand after it; a dot that ends a sentence, too."""


def pattern(word: str) -> str:
    """The regular expression that finds the word in a text in lower case."""
    return BEFORE + re.sub(r"(\W|_)", r"\\\1", word.lower()) + AFTER


def named(text: str, word: str) -> str:
    """The SQL condition that a text in lower case names `word`, an expression: an id, or an e-mail address.

    An id is found anywhere; an address, also percent-encoded, as a whole word.
    """
    escaped = rf"regexp_replace({word}, '([^[:alnum:]])', '\\\1', 'g')"
    return (
        f"CASE WHEN strpos({text}, {word}) = 0 THEN false WHEN {word} !~ '@|%40' THEN true"
        f" ELSE {text} ~ ('{BEFORE}' || {escaped} || '{AFTER}') END"
    )
