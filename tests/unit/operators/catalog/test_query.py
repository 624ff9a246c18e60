"""The query of a query string: PS3.18 8.3.4 and PS3.4 C.2.2.2 (CONFORMANCE.md, QIDO-RS)."""

from datetime import date, time

import pytest

from operators.catalog.query import BY_PATH, Match, PageLimits, Query, page_of, parse
from operators.dicom.attributes import Level
from operators.errors import BadQuery

PATIENT_ID = BY_PATH["00100020"]
NAME = BY_PATH["00100010"]
STUDY_DATE = BY_PATH["00080020"]
STUDY_TIME = BY_PATH["00080030"]
STUDY_UID = BY_PATH["0020000D"]


def only(text: str, name: str = "PatientID", level: Level = "study") -> Match:
    (match,) = parse([(name, text)], level).matches
    return match


def refusal(*pairs: tuple[str, str], level: Level = "study") -> str:
    with pytest.raises(BadQuery) as refused:
        parse(pairs, level)
    return str(refused.value)


@pytest.mark.parametrize("name", ["PatientID", "00100020"])
def test_an_attribute_is_named_by_keyword_or_tag(name: str) -> None:
    assert only("A1", name) == Match(PATIENT_ID, "equals", ("A1",))


@pytest.mark.parametrize(
    "name",
    ["Nonsense", "00400275.00400009", "RequestAttributesSequence.ScheduledProcedureStepID", "00091001", "StationName"],
)
def test_a_name_that_is_not_matched_is_ignored_with_a_warning_that_names_it(name: str) -> None:
    query = parse([(name, "x")], "study")

    assert query.matches == ()
    assert name in query.warnings[0]


@pytest.mark.parametrize(
    "name",
    [
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "00400275.00400009",
        "00400275.ScheduledProcedureStepID",
        "RequestAttributesSequence.00400009",
    ],
)
def test_an_attribute_in_a_sequence_is_named_by_its_path_in_any_spelling(name: str) -> None:
    match = only("S1", name, "series")

    assert (match.attribute.column, match.operator, match.values) == ("scheduled_procedure_step_ids", "equals", ("S1",))


@pytest.mark.parametrize("name", ["00400275", "00400275.", ".00400009", "00400275..00400009", "." * 5000, "00400275.x"])
def test_a_path_to_no_attribute_is_ignored(name: str) -> None:
    assert parse([(name, "x")], "series").matches == ()


def test_a_time_zone_in_the_query_is_ignored_with_a_warning() -> None:
    query = parse([("TimezoneOffsetFromUTC", "+0500"), ("StudyTime", "10")], "study")

    assert [match.attribute.keyword for match in query.matches] == ["StudyTime"]
    assert "TimezoneOffsetFromUTC" in query.warnings[0]


def test_a_list_of_uids_may_be_given_as_repeated_parameters() -> None:
    pairs = [("StudyInstanceUID", "1.2"), ("0020000D", "1.3,1.4")]

    assert parse(pairs, "study").matches == (Match(STUDY_UID, "among", ("1.2", "1.3", "1.4")),)


@pytest.mark.parametrize(
    ("name", "text", "operator", "values"),
    [
        ("PatientID", r"A1\A2\A1", "among", ("A1", "A2")),
        ("StudyDescription", r"Head\Neck", "among", ("head", "neck")),
        ("PatientID", r"A1\B2*", "like", ("A1", "B2*")),
        ("ModalitiesInStudy", r"CT\MR", "among", ("CT", "MR")),
        ("NumberOfStudyRelatedSeries", r"1\2", "among", (1, 2)),
        ("PatientName", r"doe*\roe*", "like", ("doe*", "*=doe*", "roe*", "*=roe*")),
    ],
)
def test_backslashes_separate_values_only_with_multiplevaluematching(
    name: str, text: str, operator: str, values: tuple[str | int, ...]
) -> None:
    asked = parse([(name, text), ("multiplevaluematching", "true")], "study")

    assert asked.matches == (Match(asked.matches[0].attribute, operator, values),)  # type: ignore[arg-type]
    assert asked.warnings == ()
    if name == "PatientID":
        assert "\\" in str(parse([(name, text)], "study").matches[0].values[0])


@pytest.mark.parametrize("text", ["A1\\", "A1\\*"])
def test_several_values_match_everything_when_one_of_them_does(text: str) -> None:
    assert parse([("PatientID", text), ("multiplevaluematching", "true")], "study").matches == ()


def test_more_than_64_values_at_once_are_refused() -> None:
    refused = refusal(("PatientID", "\\".join(map(str, range(65)))), ("multiplevaluematching", "true"))

    assert "more than 64 values" in refused


def test_a_name_that_does_not_fit_a_header_is_not_repeated() -> None:
    (warning,) = parse([("a\r\nSet-Cookie: b", "x")], "study").warnings

    assert warning == "Some parameters are not supported for matching at this level and were ignored."


def test_an_attribute_of_a_lower_level_is_ignored_and_one_of_an_upper_level_matches() -> None:
    assert parse([("Modality", "CT")], "study").matches == ()
    assert only("X", "PatientID", "instance").attribute == PATIENT_ID


@pytest.mark.parametrize("text", ["", "*", "**", "  "])
def test_an_empty_value_and_stars_alone_match_everything(text: str) -> None:
    assert parse([("PatientID", text), ("StudyDate", text), ("StudyInstanceUID", text)], "study").matches == ()


def test_a_pattern_keeps_everything_but_stars_and_question_marks_literal() -> None:
    assert only(r"1_3%4\5*?") == Match(PATIENT_ID, "like", (r"1_3%4\5*?",))


def test_text_keeps_its_case_and_names_lose_case_and_accents() -> None:
    assert only("aBc").values == ("aBc",)
    assert only("MÜLLER^Jürgen", "PatientName").values[0] == "muller^jurgen"


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("Doe^John", ("doe^john", "doe^john=*", "*=doe^john", "*=doe^john=*")),
        ("Doe*", ("doe*", "*=doe*")),
        ("*ohn*", ("*ohn*",)),
        ("Doe^John^^", ("doe^john", "doe^john=*", "*=doe^john", "*=doe^john=*")),
        ("Yamada^Tarou=山田^太郎", ("yamada^tarou=山田^太郎",)),
    ],
)
def test_a_name_matches_any_of_its_component_groups(text: str, patterns: tuple[str, ...]) -> None:
    assert only(text, "PatientName") == Match(NAME, "like", patterns)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PatientID", "*a"),
        ("PatientID", "??"),
        ("PatientName", "*N*"),
        ("PatientName", "?*"),
        ("PatientName", "n*"),
        ("StudyDescription", "a*"),
        ("AccessionNumber", "*1*"),
    ],
)
def test_a_pattern_that_selects_little_is_compared_with_the_first_rows_and_a_warning_says_so(
    name: str, text: str
) -> None:
    query = parse([(name, text), ("StudyDate", "20260101")], "study")

    assert [match.attribute.keyword for match in query.compared_matches] == [name]
    assert f"compared with the first 5000 results of the other conditions only ({name})" in query.warnings[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PatientName", "王*"),
        ("PatientName", "*김*"),
        ("PatientName", "ヤ*"),
        ("PatientName", "*ab*"),
        ("PatientName", "n"),
        ("PatientID", "a?b"),
        ("StudyDescription", "*頭*"),
        ("ModalitiesInStudy", "C*"),
        ("PatientSex", "?"),
    ],
)
def test_two_characters_or_a_wide_one_make_the_usual_search(name: str, text: str) -> None:
    query = parse([(name, text)], "study")

    assert (query.compared_matches, query.warnings, len(query.matches)) == ((), (), 1)


@pytest.mark.parametrize(
    ("pairs", "compared"),
    [
        ({}, ["Modality", "Rows"]),
        ({"PatientSex": "F"}, ["Modality", "Rows"]),
        ({"PatientName": "*n*"}, ["Modality", "Rows", "PatientName"]),
        ({"PatientID": '""', "emptyvaluematching": "true"}, ["Modality", "Rows"]),
        ({"PatientName": "*nn*"}, []),
        ({"StudyDate": "20260101"}, []),
        ({"SOPInstanceUID": "1.2"}, []),
    ],
)
def test_conditions_on_series_and_instances_need_another_one_with_an_index(
    pairs: dict[str, str], compared: list[str]
) -> None:
    query = parse([("Modality", "CT"), ("Rows", "512"), *pairs.items()], "instance")

    assert [match.attribute.keyword for match in query.compared_matches] == compared
    assert bool(query.warnings) == bool(compared)


def test_a_study_in_the_path_serves_as_an_index() -> None:
    query = parse([("Modality", "CT")], "instance", study_uid="1.2")

    assert (query.compared_matches, query.warnings) == ((), ())


def test_of_several_patterns_a_short_one_makes_all_short() -> None:
    query = parse([("PatientID", r"ab*\c*"), ("multiplevaluematching", "true")], "study")

    assert query.compared_matches == query.matches


@pytest.mark.parametrize("name", ["StudyDescription", "00081030"])
def test_a_description_loses_its_case_and_keeps_its_accents(name: str) -> None:
    assert only("SCHÄDEL ct", name).values == ("schädel ct",)
    assert only("Scha\u0308d*", name).values == ("schäd*",)


@pytest.mark.parametrize("text", ["CT,US", r"CT\US", "CT, US,", "CT,US,CT"])
def test_a_list_of_codes_matches_any_of_them(text: str) -> None:
    assert only(text, "ModalitiesInStudy").values == ("CT", "US")
    assert only(text, "Modality", "series").operator == "among"


def test_a_list_of_codes_may_have_patterns_and_be_given_as_repeated_parameters() -> None:
    assert only("C?,US", "ModalitiesInStudy").operator == "like"
    assert parse([("Modality", "CT"), ("00080060", "US")], "series").matches[0].values == ("CT", "US")
    assert only("CT", "Modality", "series").operator == "equals"


@pytest.mark.parametrize("text", [",", "CT,*"])
def test_a_list_without_codes_or_with_a_star_matches_everything(text: str) -> None:
    assert parse([("ModalitiesInStudy", text)], "study").matches == ()


def test_more_than_64_codes_are_refused() -> None:
    assert "more than 64 values" in refusal(("ModalitiesInStudy", ",".join(f"C{number}" for number in range(65))))


def test_too_many_stars_are_refused() -> None:
    assert "use fewer" in refusal(("PatientID", "*ab" * 9))


@pytest.mark.parametrize("text", ["1.2,1.3", r"1.2\1.3", "1.2, 1.3", "1.2,1.3,1.2"])
def test_a_list_of_uids_matches_any_of_them(text: str) -> None:
    assert only(text, "StudyInstanceUID") == Match(STUDY_UID, "among", ("1.2", "1.3"))


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("20260102", (date(2026, 1, 2), date(2026, 1, 2))),
        ("20260102-20260203", (date(2026, 1, 2), date(2026, 2, 3))),
        ("-20260203", (None, date(2026, 2, 3))),
        ("20260102-", (date(2026, 1, 2), None)),
    ],
)
def test_a_date_matches_one_day_and_a_range_both_its_ends(text: str, ends: tuple[date | None, date | None]) -> None:
    assert only(text, "StudyDate") == Match(STUDY_DATE, "between", ends)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("10", (time(10), time(10, 59, 59, 999999))),
        ("1015", (time(10, 15), time(10, 15, 59, 999999))),
        ("101530", (time(10, 15, 30), time(10, 15, 30, 999999))),
        ("101530.25", (time(10, 15, 30, 250000), time(10, 15, 30, 259999))),
        ("235960", (time(23, 59, 59), time(23, 59, 59, 999999))),
        ("10-12", (time(10), time(12, 59, 59, 999999))),
        ("-1200", (None, time(12, 0, 59, 999999))),
        ("1200-", (time(12), None)),
    ],
)
def test_a_partial_time_covers_its_hour_or_minute(text: str, ends: tuple[time | None, time | None]) -> None:
    assert only(text, "StudyTime") == Match(STUDY_TIME, "between", ends)


def test_date_and_time_match_independently() -> None:
    query = parse([("StudyDate", "20260101-20260131"), ("StudyTime", "10-11")], "study")

    assert [match.attribute.keyword for match in query.matches] == ["StudyDate", "StudyTime"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("StudyDate", "2026"),
        ("StudyDate", "20260230"),
        ("StudyDate", "2026-01-02"),
        ("StudyDate", "-"),
        ("StudyTime", "25"),
        ("StudyTime", "1"),
        ("StudyInstanceUID", "1.2,x"),
        ("StudyInstanceUID", "1.2.*"),
        ("NumberOfStudyRelatedSeries", "many"),
        ("PatientID", "a\0b"),
        ("PatientID", "a\ud800"),
        ("PatientID", "a" * 9000),
        ("limit", "-1"),
        ("limit", "ten"),
        ("limit", "9" * 30),
        ("limit", "١"),  # noqa: RUF001 - a digit that int() accepts
        ("offset", "1.5"),
        ("fuzzymatching", "maybe"),
    ],
)
def test_an_invalid_value_is_refused_naming_the_parameter_and_not_the_value(name: str, text: str) -> None:
    advice = refusal((name, text))

    assert advice.startswith(name) or name in advice
    assert text not in advice.replace(name, "") or text == "-"


def test_a_parameter_given_twice_with_two_values_is_refused() -> None:
    assert "PatientID is given twice" in refusal(("PatientID", "a"), ("00100020", "b"))
    assert "StudyDate is given twice" in refusal(("StudyDate", "20260101"), ("StudyDate", "20260102"))
    assert "limit is given twice" in refusal(("limit", "1"), ("limit", "2"))


@pytest.mark.parametrize(("text", "limit"), [(None, 100), ("0", 0), ("7", 7), ("1000", 1000), ("5000", 1000)])
def test_the_limit_is_100_by_default_and_1000_at_most(text: str | None, limit: int) -> None:
    assert parse([("limit", text)] if text else [], "study").limit == limit


def test_a_page_can_be_asked_for_without_a_query() -> None:
    assert page_of([]) == (100, 0)
    assert page_of([("limit", "7"), ("offset", "3"), ("accept", "application/json")]) == (7, 3)
    assert page_of([("limit", "99")], PageLimits(2, 5)) == (5, 0)
    with pytest.raises(BadQuery, match="the parameters are limit and offset"):
        page_of([("PatientID", "1")])


@pytest.mark.parametrize(
    ("pairs", "include"),
    [
        ([], frozenset()),
        ([("includefield", "PatientName"), ("includefield", "00100020")], frozenset({"00100010", "00100020"})),
        ([("includefield", "PatientName,PatientID")], frozenset({"00100010", "00100020"})),
        ([("includefield", "Nonsense"), ("includefield", "")], frozenset()),
        ([("includefield", "PatientName,all")], None),
        ([("includefield", "ALL")], None),
        ([("includefield", " patientname , Nonsense,0010002x,00091001,0020000d")], frozenset({"00091001", "0020000D"})),
        ([("includefield", "RequestAttributesSequence.ScheduledProcedureStepID")], frozenset({"00400275"})),
    ],
)
def test_includefield_may_be_repeated_a_list_or_all_and_unknown_names_are_ignored(
    pairs: list[tuple[str, str]], include: frozenset[str] | None
) -> None:
    assert parse(pairs, "study").include == include


def test_fuzzy_matching_is_answered_literally_with_the_standards_warning() -> None:
    query = parse([("fuzzymatching", "true"), ("PatientID", "ab")], "study")

    assert query.matches == (Match(PATIENT_ID, "equals", ("ab",)),)
    assert query.warnings == (
        "The fuzzymatching parameter is not supported. Only literal matching has been performed.",
    )


def test_two_quotes_match_empty_values_only_with_emptyvaluematching() -> None:
    quotes = ("PatientID", '""')
    asked = parse([quotes, ("emptyvaluematching", "true")], "study")

    assert asked.matches == (Match(PATIENT_ID, "empty"),)
    assert parse([quotes], "study").matches == (Match(PATIENT_ID, "equals", ('""',)),)


def test_upper_levels_are_answered_unless_the_path_names_them_and_no_field_is_included() -> None:
    assert Query("instance").parents == ("study", "series")
    assert Query("instance", study_uid="1.2").parents == ("series",)
    assert Query("instance", study_uid="1.2", series_uid="1.3").parents == ()
    assert Query("series", study_uid="1.2", include=None).parents == ("study",)
