"""Modelkeep's own code, shared by all functions; one module or package a noun (docs/design.md, section 2)."""
