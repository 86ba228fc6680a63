"""The words of a worker's reports to Tune that its driver reads."""

from __future__ import annotations

NO_STORAGE = "no storage"
"""Status that a worker reports when it can't write: the search ends and can be resumed."""
OBJECTIVE = "objective"
"""The metric a sampler minimises: validation loss in nats, always finite."""
RETIRES = "retires"
"""Kind of the report that a process ends now though all went well; another reports its end."""
MEMBER_END = "member_end"
"""Kind of the report that a branch or a replicate has ended; the rest goes on in its process."""
