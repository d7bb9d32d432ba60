"""Keys that differ and look alike to people. Pure."""

import unicodedata

_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-")
_LETTERS = str.maketrans("аеорсухікмнтвѕјԁԛԝһαορνκιτυχγερημβ", "aeopcyxikmhtbsjdqwhaopvkituxyephmb")


def looks(key: str) -> str:
    """The same text for two keys that look alike: in lower case, with plain hyphens and Latin letters."""
    if key.isascii():
        return key.casefold()
    return unicodedata.normalize("NFKC", key).casefold().translate(_DASHES).translate(_LETTERS)


def misleads(key: str) -> bool:
    """Whether a key looks like ASCII and is not."""
    return not key.isascii() and looks(key).isascii()
