"""The audit: who did what, when, why and with what result, in chains that show when they were changed afterwards."""

from __future__ import annotations

from pool.audit.auditor import AccessJournal, Auditor
from pool.audit.chain import GENESIS, Fault, Head, Verdict, canonical, digest, read_entry, verify
from pool.audit.file import AuditFile
from pool.audit.reading import Entry, Reader, chain_names, verify_chain, verify_file

__all__ = [
    "GENESIS",
    "AccessJournal",
    "AuditFile",
    "Auditor",
    "Entry",
    "Fault",
    "Head",
    "Reader",
    "Verdict",
    "canonical",
    "chain_names",
    "digest",
    "read_entry",
    "verify",
    "verify_chain",
    "verify_file",
]
