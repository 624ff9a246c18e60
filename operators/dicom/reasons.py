"""The codes that leave this package: the reasons of rejections, and the oddities of accepted instances."""

from enum import StrEnum


class Reason(StrEnum):
    """Why bytes can never become an instance, or a frame of one: the codes of Rejected."""

    NOT_PART10 = "not-part10"
    NO_TRANSFER_SYNTAX = "no-transfer-syntax"
    TRUNCATED_META = "truncated-meta"
    TRUNCATED_HEADER = "truncated-header"
    BAD_SEQUENCE = "bad-sequence"
    BAD_DEFLATE = "bad-deflate"
    TOO_INFLATED = "too-inflated"
    TOO_DEEP = "too-deep"
    TOO_MANY_ITEMS = "too-many-items"
    TOO_MANY_ELEMENTS = "too-many-elements"
    NO_USABLE_UID = "no-usable-uid"
    NO_SUCH_FRAME = "no-such-frame"
    BAD_FRAME = "bad-frame"


class Oddity(StrEnum):
    """A fault of a data set that can still be read: the codes of an instance's warnings."""

    ODD_LENGTH = "odd-length"
    UNEXPECTED_VR = "unexpected-vr"
    OTHER_VR_ENCODING = "other-vr-encoding"
    STRAY_DELIMITER = "stray-delimiter"
    TRAILING_BYTES = "trailing-bytes"
    TRUNCATED_PIXELS = "truncated-pixels"
    SURPLUS_PIXELS = "surplus-pixels"
    ODD_FRAGMENTS = "odd-fragments"
    LEADING_ZERO_IN_UID = "leading-zero-in-uid"
    UNKNOWN_CHARACTER_SET = "unknown-character-set"
    UNDECODABLE_TEXT = "undecodable-text"
    LONG_VALUE = "long-value"
    UNREADABLE_NUMBER = "unreadable-number"
    NUMBER_LENGTH = "number-length"
    FOREIGN_GROUP = "foreign-group"
    MISSING_PIXELS = "missing-pixels"
