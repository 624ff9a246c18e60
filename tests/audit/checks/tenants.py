"""Checks of tenants: a row belongs to the tenant whose object it names, and the database shows a reader one tenant alone."""

from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import Snapshot, named


def foreign(snapshot: Snapshot) -> Findings:
    """Find rows under another tenant than their object's, or than any sender's, and tables that show all tenants (I9)."""
    for row in snapshot.rows:
        if named(row.object_key).tenant != row.name.tenant:
            yield Finding(str(row.name), "a row of another tenant's object")
    for refusal in snapshot.quarantine_rows:
        if named(refusal.object_key).tenant != refusal.tenant:
            yield Finding(f"{refusal.tenant}/{refusal.data_hash}", "a row of another tenant's object")
    keys = (*snapshot.objects, *snapshot.quarantine_objects, *snapshot.documents)
    known = {line.tenant for line in snapshot.ledger} | {key.split("/")[0] for key in keys}
    for table, tenants in snapshot.tenants.items():
        for tenant in tenants - known:
            yield Finding(f"{table} of {tenant}", "rows of a tenant of whom nothing is stored")
    for table in snapshot.open_tables:
        yield Finding(table, "shows a reader every tenant")
