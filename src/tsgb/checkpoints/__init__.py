"""Which files make a checkpoint, who may write them, and how a run goes on after it was killed.

Knows files and never tensors. The order of every write is what makes it safe: files, manifest, head.
"""

from tsgb.checkpoints.blobs import get_blob, put_blob
from tsgb.checkpoints.journal import Journal
from tsgb.checkpoints.lease import acquire, grant
from tsgb.checkpoints.pins import pin, unpin
from tsgb.checkpoints.publish import publish
from tsgb.checkpoints.quarantine import quarantine
from tsgb.checkpoints.repair import repair
from tsgb.checkpoints.resume import Resumed, fetch, latest, resume, resume_point
from tsgb.checkpoints.retention import retain, sweep_fenced
from tsgb.checkpoints.rollback import rollback
from tsgb.checkpoints.runs import open_run

__all__ = [
    "Journal",
    "Resumed",
    "acquire",
    "fetch",
    "get_blob",
    "grant",
    "latest",
    "open_run",
    "pin",
    "publish",
    "put_blob",
    "quarantine",
    "repair",
    "resume",
    "resume_point",
    "retain",
    "rollback",
    "sweep_fenced",
    "unpin",
]
