"""Modelkeep on one machine: embedded S3 and DynamoDB, the events between them, and every endpoint in one app."""
