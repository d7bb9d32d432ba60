"""What spreadsheets and databases leave in cells: taken off, or refused where a value is lost. Pure."""

import re

_AS_TEXT = re.compile(r'="(.*)"', re.DOTALL)
_NO_VALUE = {"NULL", r"\N"}
_ERROR = re.compile(r"#(?:N/A|NV|[A-ZÄÖÜ0/]{2,14}[!?]|#+)")


def cleaned(cell: str) -> str:
    r"""The cell as it was meant: ="0012" is 0012, NULL and \N are empty.

    Raises ValueError for an error in place of a value, such as #N/A.
    """
    bare = cell.strip()
    if not bare or bare[0] not in "=N\\#":
        return cell
    if written := _AS_TEXT.fullmatch(bare):
        return written[1].replace('""', '"')
    if bare in _NO_VALUE:
        return ""
    if _ERROR.fullmatch(bare):
        raise ValueError(f"{bare!r} is what a spreadsheet shows where it has no value; write the value")
    return cell
