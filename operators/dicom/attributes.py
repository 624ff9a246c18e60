"""The table of the attributes that the archive reads, stores, matches and returns; other tables are derived from it.

To match another attribute in queries, add its row here, and its column to `schemas/catalog/` and to the row class of
its level. An attribute that no event carries yet also needs a field in Facts and in its Avro schema. The test of this
module names what is still missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["study", "series", "instance"]
# How a query's value is compared with the attribute's (PS3.4 C.2.2.2); "codes", "uids" and "texts" are several values. A
# "description" is text in the words of people, matched without case; "text" is matched with case, as ids are.
Matching = Literal["text", "description", "code", "name", "uid", "date", "time", "number", "codes", "uids", "texts"]
# The kinds of matching that have a column of their own, with the values as queries match them.
FOLDED: frozenset[Matching] = frozenset({"name", "description"})
# When a query's answer has the attribute: always, even empty (type 2); if its value is known; at every level, if its
# value is known; with a value that the reader computes; or never.
Answered = Literal["always", "if-known", "everywhere", "by-reader", "never"]

LEVELS: tuple[Level, ...] = ("study", "series", "instance")


@dataclass(frozen=True)
class Attribute:
    """One attribute of DICOM's information model.

    `path` is its tag as eight hexadecimal digits. For an attribute in the items of a sequence, the sequence's tag and a
    dot come first; `keyword` has the same form. `name` is the name of its value in events and rows. A fact is read from
    the header and carried by events in the field `name` of Facts; the other attributes are UIDs of the event, or are
    derived by the catalog from its rows. For an attribute that is indexed, the catalog has an index by which values are
    found, or parts of them.
    """

    keyword: str
    path: str
    vr: str
    level: Level
    name: str
    matching: Matching | None = None
    answered: Answered = "if-known"
    is_fact: bool = True
    is_indexed: bool = False

    @property
    def tag(self) -> int:
        """Return the tag of the attribute itself."""
        return int(self.path[-8:], 16)

    @property
    def sequence(self) -> str:
        """Return the path of the sequence that the attribute lies in; empty at the top level of a data set."""
        return self.path.rpartition(".")[0]

    @property
    def column(self) -> str:
        """Return the column that queries match, in the table of the attribute's level.

        Person names and descriptions are matched in another form than they are answered in, in a column of their own.
        An attribute of a sequence's items has a value for each item, so its column holds several.
        """
        if self.matching in FOLDED:
            return f"{self.name}_folded"
        return f"{self.name}s" if self.matching == "texts" else self.name


# PS3.6 6 for tags and VRs; PS3.18 tables 10.6.1-5 (matched) and 10.6.3-3 to -5 (answered), and the attributes that
# viewers also ask for. Specific Character Set comes first: it says how the texts after it are decoded.
ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("SpecificCharacterSet", "00080005", "CS", "instance", "specific_character_set", None, "everywhere"),
    Attribute("TimezoneOffsetFromUTC", "00080201", "SH", "instance", "timezone_offset_from_utc", None, "everywhere"),
    Attribute("StudyInstanceUID", "0020000D", "UI", "study", "study_uid", "uid", is_fact=False, is_indexed=True),
    Attribute("PatientName", "00100010", "PN", "study", "patient_name", "name", "always", is_indexed=True),
    Attribute("PatientID", "00100020", "LO", "study", "patient_id", "text", "always", is_indexed=True),
    Attribute("IssuerOfPatientID", "00100021", "LO", "study", "issuer_of_patient_id", "text"),
    Attribute("PatientBirthDate", "00100030", "DA", "study", "patient_birth_date", "date", "always"),
    Attribute("PatientSex", "00100040", "CS", "study", "patient_sex", "code", "always"),
    Attribute("StudyDate", "00080020", "DA", "study", "study_date", "date", "always", is_indexed=True),
    Attribute("StudyTime", "00080030", "TM", "study", "study_time", "time", "always"),
    Attribute("AccessionNumber", "00080050", "SH", "study", "accession_number", "text", "always", is_indexed=True),
    Attribute("ReferringPhysicianName", "00080090", "PN", "study", "referring_physician_name", "name", "always"),
    Attribute("StudyDescription", "00081030", "LO", "study", "study_description", "description", is_indexed=True),
    Attribute("StudyID", "00200010", "SH", "study", "study_id", "text", "always"),
    Attribute(
        "ModalitiesInStudy",
        "00080061",
        "CS",
        "study",
        "modalities",
        "codes",
        "by-reader",
        is_fact=False,
        is_indexed=True,
    ),
    Attribute("SOPClassesInStudy", "00080062", "UI", "study", "sop_classes", "uids", "by-reader", is_fact=False),
    Attribute("NumberOfStudyRelatedSeries", "00201206", "IS", "study", "series", "number", "by-reader", is_fact=False),
    Attribute(
        "NumberOfStudyRelatedInstances", "00201208", "IS", "study", "instances", "number", "by-reader", is_fact=False
    ),
    Attribute("SeriesInstanceUID", "0020000E", "UI", "series", "series_uid", "uid", is_fact=False, is_indexed=True),
    Attribute("Modality", "00080060", "CS", "series", "modality", "code", "always"),
    Attribute("SeriesDescription", "0008103E", "LO", "series", "series_description", "description", is_indexed=True),
    Attribute("ProtocolName", "00181030", "LO", "series", "protocol_name", "description", is_indexed=True),
    Attribute("SeriesDate", "00080021", "DA", "series", "series_date"),
    Attribute("SeriesTime", "00080031", "TM", "series", "series_time"),
    Attribute("SeriesNumber", "00200011", "IS", "series", "series_number", "number", "always"),
    Attribute("BodyPartExamined", "00180015", "CS", "series", "body_part_examined", "code"),
    Attribute(
        "PerformedProcedureStepStartDate", "00400244", "DA", "series", "performed_procedure_step_start_date", "date"
    ),
    Attribute(
        "PerformedProcedureStepStartTime", "00400245", "TM", "series", "performed_procedure_step_start_time", "time"
    ),
    Attribute(
        "NumberOfSeriesRelatedInstances", "00201209", "IS", "series", "instances", "number", "by-reader", is_fact=False
    ),
    Attribute("RequestAttributesSequence", "00400275", "SQ", "series", "request_attributes", is_fact=False),
    Attribute(
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "00400275.00400009",
        "SH",
        "series",
        "scheduled_procedure_step_id",
        "texts",
    ),
    Attribute(
        "RequestAttributesSequence.RequestedProcedureID",
        "00400275.00401001",
        "SH",
        "series",
        "requested_procedure_id",
        "texts",
    ),
    Attribute("SOPInstanceUID", "00080018", "UI", "instance", "sop_uid", "uid", is_fact=False, is_indexed=True),
    Attribute("SOPClassUID", "00080016", "UI", "instance", "sop_class", "uid", is_fact=False),
    Attribute("InstanceNumber", "00200013", "IS", "instance", "instance_number", "number", "always"),
    Attribute("NumberOfFrames", "00280008", "IS", "instance", "number_of_frames", "number"),
    Attribute("PhotometricInterpretation", "00280004", "CS", "instance", "photometric_interpretation", None, "never"),
    Attribute("SamplesPerPixel", "00280002", "US", "instance", "samples_per_pixel", None, "never"),
    Attribute("Rows", "00280010", "US", "instance", "rows", "number"),
    Attribute("Columns", "00280011", "US", "instance", "columns", "number"),
    Attribute("BitsAllocated", "00280100", "US", "instance", "bits_allocated", "number"),
)

FACTS: tuple[Attribute, ...] = tuple(attribute for attribute in ATTRIBUTES if attribute.is_fact)
SEQUENCES: tuple[Attribute, ...] = tuple(attribute for attribute in ATTRIBUTES if attribute.vr == "SQ")
TAGS = {attribute.keyword: attribute.tag for attribute in ATTRIBUTES}


def items_of(sequence: Attribute) -> tuple[Attribute, ...]:
    """Return the attributes that lie in the items of this sequence."""
    return tuple(attribute for attribute in ATTRIBUTES if attribute.sequence == sequence.path)


def answered_at(level: Level) -> tuple[Attribute, ...]:
    """Return the top-level attributes in an answer of this level: those of every level, then the level's own by tag."""
    everywhere = [attribute for attribute in ATTRIBUTES if attribute.answered == "everywhere"]
    own = [
        attribute
        for attribute in ATTRIBUTES
        if attribute.level == level and attribute.answered in {"always", "if-known"}
    ]
    return (
        *everywhere,
        *sorted((attribute for attribute in own if not attribute.sequence), key=lambda attribute: attribute.tag),
    )


def required_at(level: Level) -> Iterator[Attribute]:
    """Return the attributes that every answer of this level has, empty when they are not known."""
    return (attribute for attribute in ATTRIBUTES if attribute.level == level and attribute.answered == "always")
