"""License files: cells of any spreadsheet become the data of a license. Pure."""
