"""The catalog: versions and their files in DynamoDB, from reservation to tombstone."""
