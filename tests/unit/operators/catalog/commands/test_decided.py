"""What decisions say of a batch: the deleted studies, and of each instance the content that was chosen last."""

from operators.catalog.commands.decided import decided
from operators.catalog.commands.projection import storable_command
from operators.catalog.projection import storable_instance
from operators.catalog.rows import DecisionRow, StudyKey
from schemas.events import StudyCommand
from tests.support.worlds.catalog_histories import choice, command, instance


def rows(*events: StudyCommand) -> list[DecisionRow]:
    return [decision for event in events if (decision := storable_command(event).decision)]


def test_only_a_deletion_in_force_deletes() -> None:
    said = rows(command("delete"), command("restore", "1.2.2"), command("hold", "1.2.3"))

    assert decided(said).deleted == {StudyKey("local", "1.2.1")}


def test_the_last_choice_of_an_instance_is_shown_whatever_the_order_of_rows() -> None:
    first, last = instance(content="a"), instance(content="b")
    said = rows(choice(last, second=2), choice(first, second=1))
    key = storable_instance(first).key

    assert decided(said).shown_hash(key) == decided(reversed(said)).shown_hash(key) == last.data_hash
    assert [one.event for one in decided(said).chosen] == [last, first]
    assert decided([]).shown_hash(key) is None
