"""Bytes in S3. `storage` and `tasks` alone import boto3; keys come from `naming`."""
