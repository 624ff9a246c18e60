"""Where the folder of real DICOM files is: FLUORO_CORPUS, else beside the clone."""

import os
from pathlib import Path

BESIDE_THE_CLONE = Path(__file__).parents[4] / "shared" / "corpus"


def corpus_folder() -> Path | None:
    """Return the folder of real DICOM files; None where there is none."""
    folder = Path(os.environ.get("FLUORO_CORPUS", BESIDE_THE_CLONE)).resolve()
    return folder if folder.is_dir() else None
