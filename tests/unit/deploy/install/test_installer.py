"""The installation's steps fit together."""

from deploy.install import installer, layout


def test_every_step_has_room_and_results_and_needs_only_earlier_steps() -> None:
    names: set[str] = set()
    for step in installer.steps(layout.here({"FLUORO_CACHE": "/nonexistent"})):
        assert step.name not in names
        assert set(step.needs) <= names
        assert step.room_bytes > 0
        assert step.results
        names.add(step.name)
