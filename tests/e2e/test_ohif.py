"""OHIF, as npm ships it, lists, filters and shows what a running archive has, without an error box or a failed request."""

from collections.abc import Iterator

import pytest

from tests.conftest import absent
from tests.support.machine.debian_tools import ProgramsUnavailable, chromium
from tests.support.proof import Proof
from tests.support.viewers.npm import PackagesUnavailable, packages
from tests.support.viewers.radiologist import MIDDLE, Seen, first_minutes
from tests.support.viewers.site import Site, site
from tests.support.viewers.studies import ACCESSION, BLUE, HIGHEST, LOWEST, greys, viewed_studies

IMAGE, REPORT, WITHOUT_MODALITY = f"{ACCESSION}1", f"{ACCESSION}2", f"{ACCESSION}3"
# Of a mean grey, 0 to 255.
NEAR = 2.0


@pytest.fixture(scope="module")
def origin(proof: Proof, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """OHIF beside the web origin of the archive, which has stored and settled the studies of this test."""
    try:
        ohif = packages() / "@ohif" / "app" / "dist"
    except PackagesUnavailable as why:
        absent(f"OHIF: {why}")
    assert proof.send(viewed_studies(tmp_path_factory.mktemp("viewed"))).complete
    assert proof.wrong() == {}
    with site(ohif, proof.archive.api_url) as found:
        yield found


@pytest.fixture(scope="module")
def seen(origin: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    try:
        browser = chromium()
    except ProgramsUnavailable as why:
        absent(f"chromium: {why}")
    return first_minutes(packages(), browser, origin.url, tmp_path_factory.mktemp("ohif"))


def test_the_study_list_shows_studies(seen: Seen) -> None:
    count, _ = seen.found("list")

    assert count >= 3


def test_one_letter_of_a_name_is_a_search(seen: Seen) -> None:
    count, _ = seen.found("letter")

    assert count >= 3


# A filter of the list, and what it leaves of the studies of this test.
FILTERS = {
    "accession": {IMAGE, REPORT, WITHOUT_MODALITY},
    "bookmark": {IMAGE, REPORT},
    "modality": {IMAGE},
    "description": {IMAGE},
    "dates": {REPORT},
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_leaves_the_studies_that_match(name: str, seen: Seen) -> None:
    assert seen.found(name) == (len(FILTERS[name]), FILTERS[name])


def test_the_middle_slice_of_a_stack_has_its_greys_where_they_belong(seen: Seen) -> None:
    shown = seen.of("stack")

    assert (shown["slice"], shown["window"]) == (MIDDLE, [LOWEST, HIGHEST])
    assert shown["greys"] == pytest.approx(greys(MIDDLE), abs=NEAR)


def test_the_window_follows_the_mouse(seen: Seen) -> None:
    shown = seen.of("window")

    assert shown["window"] != [LOWEST, HIGHEST]
    assert shown["greys"] == pytest.approx(greys(MIDDLE, *shown["window"]), abs=NEAR)


def test_cine_runs_through_the_stack(seen: Seen) -> None:
    assert seen.of("cine") >= 3


def test_mpr_cuts_the_volume_in_three_planes_as_the_patient_lies(seen: Seen) -> None:
    axial, sagittal, coronal = (plane["greys"] for plane in seen.of("mpr"))
    # OHIF draws volumes a little darker than stacks: greys are compared by what lies between two quadrants.
    step = axial[1] - axial[0]
    across = sagittal[1] - sagittal[0]

    assert step > 20
    # Right to left, then anterior to posterior.
    assert [one - axial[0] for one in axial] == pytest.approx([0, step, 2 * step, 3 * step], abs=NEAR)
    # Anterior to posterior, and darker at the head.
    assert across == pytest.approx(2 * step, abs=NEAR)
    assert sagittal[2] - sagittal[0] == pytest.approx(0.4 * step, abs=NEAR)
    # Right to left, and darker at the head.
    assert coronal[1] - coronal[0] == pytest.approx(step, abs=NEAR)
    assert coronal[2] - coronal[0] == pytest.approx(0.4 * step, abs=NEAR)


def test_a_pdf_is_shown_in_its_place(seen: Seen) -> None:
    assert seen.of("pdf") == BLUE


def test_nothing_goes_wrong_meanwhile(seen: Seen, origin: Site) -> None:
    wrong = {name: seen.of(name) for name in ("console", "requests", "boxes")}

    assert wrong == {"console": [], "requests": [], "boxes": []}
    assert [answer for answer in origin.answers if answer[0] >= 400] == []
