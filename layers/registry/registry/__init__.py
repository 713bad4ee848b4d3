"""Modelkeep's own code, shared by all functions; one module or package a noun (docs/design.md, section 2)."""

import gc

# What has been imported by now (in an API function all of FastAPI) lives as long as the process. Left to the collector,
# it is walked through again and again while the rest is imported: a tenth of a cold start (docs/cold-start.md).
gc.freeze()
