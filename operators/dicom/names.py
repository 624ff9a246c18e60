"""Person names and descriptions in the form that queries match."""

import unicodedata


def fold(name: str) -> str:
    """Return the name casefolded, without combining marks, its component groups joined by = (PS3.5 6.2.1.1).

    Padding, the separators of empty components at the end of a group, and empty groups at the end are removed too.
    Stored names and the names in queries are folded alike. Folding twice changes nothing.
    """
    decomposed = unicodedata.normalize("NFKD", name)
    # Casefolding can make new marks (U+0130), so they are removed last.
    folded = unicodedata.normalize("NFKD", decomposed.casefold())
    plain = "".join(char for char in folded if not unicodedata.combining(char))
    return "=".join(group.strip(" ").rstrip("^ ") for group in plain.split("=")).rstrip("=")


def fold_case(text: str) -> str:
    """Return a description without case, its accents composed: a wildcard ? stands for a letter with its accent.

    Stored descriptions and those in queries are folded alike. Folding twice changes nothing.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
