"""Write a JSON file so that a reader never sees half of it."""

import json
from pathlib import Path


def write_json(path: Path, record: object) -> None:
    """Replace a file as a whole; only its owner may read it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(record))
    partial.rename(path)
