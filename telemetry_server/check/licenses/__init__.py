"""Rows of license files: from cells of any spreadsheet to what a license is. Pure."""
