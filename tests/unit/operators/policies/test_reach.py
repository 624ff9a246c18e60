"""A rule is dead if and only if no study reaches it."""

import itertools
from time import thread_time

from hypothesis import given
from hypothesis import strategies as st

from operators.policies.deciding import is_met
from operators.policies.facts import StudyFact
from operators.policies.reach import never_apply
from schemas.events import PolicyCondition, PolicyRule
from tests.support.worlds.policies import number, rule, texts

MODALITIES = ("CT", "MR", "US")
# Every study that three modalities and small numbers tell apart; 9 stands for all numbers above the ones in rules.
STUDIES: list[dict[str, StudyFact]] = [
    {"modality": frozenset(chosen), "body_part": frozenset(part), "instances": instances, "series": series}
    for size in range(4)
    for chosen in itertools.combinations(MODALITIES, size)
    for part in ((), ("HEAD",), ("OTHER",))
    for instances in (*range(1, 6), 9)
    for series in (*range(1, 6), 9)
]
bounds = st.tuples(st.integers(1, 5), st.integers(1, 5)).map(sorted)
conditions: st.SearchStrategy[tuple[PolicyCondition, ...]] = st.fixed_dictionaries(
    {},
    optional={
        "modality": st.sets(st.sampled_from(MODALITIES), min_size=1).map(lambda them: texts("modality", *sorted(them))),
        "body_part": st.just(texts("body_part", "HEAD")),
        "instances": st.one_of(
            bounds.map(lambda them: number("instances", *them)),
            st.integers(1, 5).map(lambda it: number("instances", it)),
        ),
        "series": st.integers(1, 5).map(lambda it: number("series", at_most=it)),
    },
).map(lambda them: tuple(them.values()))
rules: st.SearchStrategy[list[PolicyRule]] = st.lists(conditions.map(lambda when: rule("one", *when)), max_size=6)


@given(rules=rules)
def test_a_rule_is_dead_if_and_only_if_no_study_reaches_it(rules: list[PolicyRule]) -> None:
    reached = {next((place for place, one in enumerate(rules) if is_met(one, study)), None) for study in STUDIES}

    assert never_apply(rules) == [place for place in range(len(rules)) if place not in reached]


def test_ranges_that_cover_a_rule_only_together_leave_it_dead() -> None:
    halves = (rule("low", number("instances", at_most=5)), rule("high", number("instances", at_least=6)))

    assert never_apply([*halves, rule("rest")]) == [2]


def test_a_search_for_a_study_ends() -> None:
    many = [rule(f"r{place}", *(number(fact, place + 2) for fact in ("instances", "series"))) for place in range(200)]

    assert never_apply([*reversed(many), rule("rest")]) == []


def test_thousands_of_rules_are_looked_through() -> None:
    many = [rule(f"r{place}", texts("modality", f"M{place}")) for place in range(5000)]

    assert never_apply([*many, many[0]], first=4999) == [5000]


def test_only_the_rules_that_are_asked_for_are_looked_at() -> None:
    assert never_apply([rule("all"), rule("dead"), rule("dead-too")], first=2) == [2]


def test_the_last_of_a_thousand_rules_is_looked_at() -> None:
    many = [rule(f"r{place}", texts("modality", f"M{place}")) for place in range(1000)]

    assert never_apply([*many, rule("rest"), rule("dead")]) == [1001]


def test_many_texts_cost_a_check_little() -> None:
    facts = {"modality": "M", "body_part": "B"}
    ways = [
        rule(f"r{place}", *(texts(fact, *(f"{a}{place}X{one}" for one in range(150))) for fact, a in facts.items()))
        for place in range(98)
    ]
    ends = [rule("few", number("series", at_most=1)), rule("many", number("series", 2))]
    asked = [rule(f"q{place}", number("instances", 2)) for place in range(98)]
    began_s = thread_time()

    assert never_apply([*ways, *ends, *asked]) == list(range(100, 198))
    assert thread_time() - began_s < 2.0
