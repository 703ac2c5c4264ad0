"""Evidence: what is kept of a container that went wrong, before its recovery destroys it."""

from __future__ import annotations

from pool.evidence.bundle import Bundle, Shelf, copy_bundle, default_evidence_root, discard, evidence_root, find_bundles
from pool.evidence.keeper import EvidenceKeeper

__all__ = [
    "Bundle",
    "EvidenceKeeper",
    "Shelf",
    "copy_bundle",
    "default_evidence_root",
    "discard",
    "evidence_root",
    "find_bundles",
]
