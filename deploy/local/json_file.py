"""Write a JSON file so that a reader never sees half of it."""

import json
from pathlib import Path


def write_json(path: Path, record: object, mode: int = 0o600) -> None:
    """Replace a file as a whole; unless `mode` says otherwise, only its owner may read it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.touch(mode=mode)
    partial.write_text(json.dumps(record))
    partial.rename(path)
