"""Uploads: how bytes become a version. Clients start, sign and complete; workers promote, unpack and publish."""
