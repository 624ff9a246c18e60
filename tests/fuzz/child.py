"""The process that fuzzes one target with coverage, so that a crash ends it and not its parent.

    python -m tests.fuzz.child TARGET [options of libFuzzer]

Started by tests/fuzz/__main__.py.
"""

import sys
import warnings

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["api", "gateway", "operators"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    warnings.simplefilter("ignore")
    name, *options = sys.argv[1:]
    atheris.Setup([name, *options], TARGETS[name].check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
