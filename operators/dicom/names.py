"""Person names as people search them: without case, accents and trailing separators."""

import unicodedata


def fold(name: str) -> str:
    """Return the name casefolded, without combining marks, its component groups joined by = (PS3.5 6.2.1.1).

    Padding and the separators of empty components at a group's end go too, and empty groups at the end.
    What a query asks for passes through here as well. Folding twice changes nothing.
    """
    spread = unicodedata.normalize("NFKD", name)
    # Casefolding can bring marks back (U+0130), so they go last.
    folded = unicodedata.normalize("NFKD", spread.casefold())
    plain = "".join(char for char in folded if not unicodedata.combining(char))
    return "=".join(group.strip(" ").rstrip("^ ") for group in plain.split("=")).rstrip("=")
