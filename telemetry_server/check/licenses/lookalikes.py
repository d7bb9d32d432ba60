"""Keys that look alike to people and are not the same. Pure."""

import unicodedata

_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-")
_LETTERS = str.maketrans("аеорсухікмнтвѕјԁԛԝһαορνκιτυχγερημβ", "aeopcyxikmhtbsjdqwhaopvkituxyephmb")


def looks(key: str) -> str:
    """The same text for two keys that look alike: with small letters, plain hyphens, and Latin letters."""
    if key.isascii():
        return key.casefold()
    return unicodedata.normalize("NFKC", key).casefold().translate(_DASHES).translate(_LETTERS)


def misleads(key: str) -> bool:
    """Whether a key looks as if it were typed on a usual keyboard, and was not."""
    return not key.isascii() and looks(key).isascii()
