"""Which files make a checkpoint, who may write them, and how a run goes on after it was killed.

Knows files and never tensors. The order of every write is what makes it safe: files, manifest, head.
"""

from tsgb.checkpoints.blobs import get_blob, put_blob
from tsgb.checkpoints.journal import Journal
from tsgb.checkpoints.lease import acquire
from tsgb.checkpoints.publish import publish
from tsgb.checkpoints.resume import Resumed, fetch, latest, resume
from tsgb.checkpoints.retention import retain
from tsgb.checkpoints.runs import open_run

__all__ = [
    "Journal",
    "Resumed",
    "acquire",
    "fetch",
    "get_blob",
    "latest",
    "open_run",
    "publish",
    "put_blob",
    "resume",
    "retain",
]
