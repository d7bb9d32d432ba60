"""Artefacts of spreadsheets and databases in cells: removed, or refused if the value is lost. Pure."""

import re

_AS_TEXT = re.compile(r'="(.*)"', re.DOTALL)
_NO_VALUE = {"NULL", "null", "(NULL)", "(null)", r"\N", "<NA>", "NaN", "nan", "NaT"}
# Translated to the language of the spreadsheet: #N/D, #¡REF!; Err:502 is LibreOffice's.
_ERROR = re.compile(r"#(?:\w/\w!?|NV|YOK|HIÁNYZIK|[¡¿]?[^\W\d_a-z][^\Wa-z]{1,14}(?:/0)?[!?]|#+)|Err:\d{3}")


def cleaned(cell: str) -> str:
    r"""The value that was meant: 0012 for ="0012", an empty text for NULL and \N.

    Raises ValueError for an error in place of a value, such as #N/A.
    """
    bare = cell.strip()
    if not bare or bare[0] not in "=Nn(<\\#E":
        return cell
    if written := _AS_TEXT.fullmatch(bare):
        return written[1].replace('""', '"')
    if bare in _NO_VALUE:
        return ""
    if _ERROR.fullmatch(bare):
        raise ValueError(f"{bare!r} is what a spreadsheet shows where it has no value; write the value")
    return cell
