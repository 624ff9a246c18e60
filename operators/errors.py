"""The two kinds of failure: data that can never succeed, and an outside that cannot answer now."""

# In how many seconds to try again, as a header of HTTP says it.
RETRY_AFTER = {"Retry-After": "5"}


class Rejected(Exception):
    """This data can never succeed; `reason` is a code for counting, never a value from the data.

    `told` is what its sender may read: a few words of what is wrong, no value either; empty where the code says all.
    """

    def __init__(self, reason: str, told: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.told = told


class Unavailable(Exception):
    """A store, broker or database did not answer in time or refused for now: try again later.

    `what` is a code for counting. `why` is for those who run the archive: a line with the server's address and the
    cause, never a value from the data; empty where there is nothing to say.
    """

    def __init__(self, what: str, why: str = "") -> None:
        super().__init__(f"{what}: {why}" if why else what)
        self.what = what
        self.why = why


class Unreadable(Unavailable):
    """A store answers, but cannot give the bytes of an object that it has: the object is damaged, or the store ails."""


class BadQuery(ValueError):
    """The client asked in a way that has no answer; the text says what to do instead and repeats no value."""
