"""What spreadsheets and databases leave in cells: taken off, or refused where a value is lost. Pure."""

import re

_AS_TEXT = re.compile(r'="(.*)"', re.DOTALL)
_NO_VALUE = {"NULL", "null", "(NULL)", "(null)", r"\N", "<NA>", "NaN", "nan", "NaT"}
# In the language of whoever opened the table: #N/D, #¡REF!; Err:502 is LibreOffice's.
_ERROR = re.compile(r"#(?:\w/\w!?|NV|YOK|HIÁNYZIK|[¡¿]?[^\W\d_a-z][^\Wa-z]{1,14}(?:/0)?[!?]|#+)|Err:\d{3}")


def cleaned(cell: str) -> str:
    r"""The cell as it was meant: ="0012" is 0012, NULL and \N are empty.

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
