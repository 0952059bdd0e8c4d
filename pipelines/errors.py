"""The error tree, shaped by how the caller recovers.

* MillraceError
  + Retry               a dependency failed; the same call may succeed later
    - Switched            the collection went over to another space meanwhile; the work is done again for that one
  + SkipDocument        one document cannot be loaded; it is quarantined with a reason, its siblings go on
  + FailRun             the run must stop and be red; the corpus served so far is untouched
    - Held              a person has to decide (held deletions)
    - NothingLearned    there is too little to learn from, or no gain is shown; the model stays as it is
  + FixConfiguration    nothing helps but changing a file, a connection or a parameter

A message names the value, the limit and the remedy, in one line. Airflow maps the classes to retry rules by their dotted
names (`plugins/millrace_airflow/retries.py`); the CLI maps them to exit codes (`docs/cli.md`).
"""

from __future__ import annotations

from pipelines.records import Reason


class MillraceError(Exception):
    """Base of every error that Millrace raises on purpose."""


class Retry(MillraceError):
    """A dependency (object store, database, model server) failed; nothing was decided about any document."""


class Switched(Retry):
    """What was prepared for one space met another one serving the collection; nothing was written or answered."""


class SkipDocument(MillraceError):
    """One document cannot be loaded. `reason` is from the closed list; `detail` is for a person."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail


class FailRun(MillraceError):
    """The run cannot be completed truthfully; what was served before is still served."""


class Held(FailRun):
    """The run finished what is safe and holds the rest for a person's approval."""


class NothingLearned(FailRun):
    """A training had too little to learn from, or shows no gain; no version was made."""


class FixConfiguration(MillraceError):
    """A file, connection, credential or parameter is wrong; the message says which and what to write instead."""
