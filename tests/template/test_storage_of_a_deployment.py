"""Where a deployment keeps things: its own bucket or a given one, a table, a queue; what stays without the stack."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.template.loading import load_template, resources_of, source

KEY = "arn:aws:kms:us-east-1:111122223333:key/k"
OWN = load_template()
GIVEN = load_template(BucketName="lake", KmsKeyArn=KEY, CorsOrigins="https://a.example,https://b.example")


def properties(name: str, template: dict[str, Any] = OWN) -> dict[str, Any]:
    return template["Resources"][name]["Properties"]


@pytest.mark.case("T4", "T9")
def test_the_bucket_is_private_encrypted_and_reached_by_tls_alone():
    found = properties("Bucket")
    assert set(found["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(found["PublicAccessBlockConfiguration"]) == 4
    assert found["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = found["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    (rule,) = properties("Bucket", load_template(KmsKeyArn=KEY))["BucketEncryption"][
        "ServerSideEncryptionConfiguration"
    ]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    (statement,) = properties("BucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Resource"] == ["GetAtt Bucket.Arn", "${Bucket.Arn}/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert properties("BucketPolicy")["Bucket"] == "Ref Bucket"


@pytest.mark.case("T5", "T7")
def test_bucket_and_table_outlive_the_stack():
    # RetainExceptOnCreate: as Retain, but that a first deployment which fails takes back what it made.
    assert OWN["Resources"]["Bucket"]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert OWN["Resources"]["Table"]["DeletionPolicy"] == "Retain"
    for name in ("Bucket", "Table"):
        assert OWN["Resources"][name]["UpdateReplacePolicy"] == "Retain"


def rules(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {rule["Id"]: rule for rule in found}


@pytest.mark.case("T4", "U17")
def test_what_was_deleted_can_be_restored_for_thirty_days_and_the_inbox_does_not_pile_up():
    assert properties("Bucket")["VersioningConfiguration"] == {"Status": "Enabled"}
    found = rules(properties("Bucket")["LifecycleConfiguration"]["Rules"])
    assert {rule["Status"] for rule in found.values()} == {"Enabled"}
    assert (found["inbox"]["Prefix"], found["inbox"]["ExpirationInDays"]) == ("modelkeep/uploads/", 14)
    assert (found["archives"]["Prefix"], found["archives"]["ExpirationInDays"]) == ("modelkeep/archives/", 7)
    assert found["models"]["Prefix"] == "models/"
    for name, days in (("inbox", 1), ("archives", 1), ("models", 30)):
        assert found[name]["NoncurrentVersionExpiration"] == {"NoncurrentDays": days}
    assert found["multiparts"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 14}
    assert found["markers"]["ExpiredObjectDeleteMarker"] is True
    assert {name for name, rule in found.items() if "ExpirationInDays" in rule} == {"inbox", "archives"}


@pytest.mark.case("T10")
def test_browsers_reach_the_bucket_from_named_origins_and_by_default_from_none():
    assert "CorsConfiguration" not in properties("Bucket")
    found = properties("Bucket", load_template(CorsOrigins="https://a.example,https://b.example"))
    (rule,) = found["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedOrigins"] == ["https://a.example", "https://b.example"]
    assert set(rule["AllowedMethods"]) == {"GET", "HEAD", "PUT"}


@pytest.mark.case("U20")
def test_an_event_of_the_inbox_and_no_other_wakes_receive_upload():
    (told,) = properties("Bucket")["NotificationConfiguration"]["LambdaConfigurations"]
    assert told["Event"] == "s3:ObjectCreated:*"
    assert told["Function"] == "arn:aws:lambda:R:A:function:S-receive_upload:live"
    assert told["Filter"] == {"S3Key": {"Rules": [{"Name": "prefix", "Value": "modelkeep/uploads/"}]}}
    permission = properties("ReceiveUploadPermission")
    assert (permission["Principal"], permission["SourceAccount"]) == ("s3.amazonaws.com", "A")
    assert permission["SourceArn"] == "arn:aws:s3:::S-A-R"
    assert permission["FunctionName"] == "Ref ReceiveUploadFunction.Alias"
    assert OWN["Resources"]["Bucket"]["DependsOn"] == "ReceiveUploadPermission"
    assert not resources_of(OWN, "AWS::Events::Rule")


@pytest.mark.case("T6")
def test_a_given_bucket_is_left_as_it_is():
    kinds = {each["Type"] for each in GIVEN["Resources"].values()}
    assert not {kind for kind in kinds if kind.startswith("AWS::S3::")}
    assert "s3.amazonaws.com" not in json.dumps(GIVEN["Resources"]).replace("s3.R.amazonaws.com", "")
    assert GIVEN["Outputs"]["BucketName"]["Value"] == "lake"
    assert GIVEN["Globals"]["Function"]["Environment"]["Variables"]["REGISTRY_BUCKET"] == "lake"
    assert "S-A-R" not in json.dumps(GIVEN)


def test_what_is_on_its_way_lies_in_a_folder_by_parameter_and_nothing_stays_behind_in_another():
    for parameters in ({}, {"BucketName": "lake"}):
        elsewhere = json.dumps(load_template(Folder="staging", **parameters))
        # The description of versions names the folder, too: a change of it has to make new ones.
        renamed = elsewhere.replace("staging/", "modelkeep/").replace(" staging ", " modelkeep ")
        assert renamed == json.dumps(load_template(**parameters))
        assert "staging/uploads/" in elsewhere
    pattern = source()["Parameters"]["Folder"]["AllowedPattern"]
    assert [each for each in ("models", "a/b", "", "/a", "a/") if re.fullmatch(pattern, each)] == []


def test_the_events_of_a_given_bucket_come_by_eventbridge_are_tried_again_and_then_kept():
    rule = properties("InboxRule", GIVEN)
    assert rule["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": ["lake"]}, "object": {"key": [{"prefix": "modelkeep/uploads/"}]}},
    }
    (target,) = rule["Targets"]
    assert target["Arn"] == "Ref ReceiveUploadFunction.Alias"
    assert target["RetryPolicy"]["MaximumRetryAttempts"] > 2
    assert target["DeadLetterConfig"] == {"Arn": "GetAtt DeadLetters.Arn"}
    permission = properties("InboxRulePermission", GIVEN)
    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["SourceArn"] == "GetAtt InboxRule.Arn"
    sends = [each for each in properties("DeadLettersPolicy", GIVEN)["PolicyDocument"]["Statement"] if "Sid" in each]
    (allowed,) = [each for each in sends if each["Effect"] == "Allow"]
    assert (allowed["Principal"], allowed["Action"]) == ({"Service": "events.amazonaws.com"}, "sqs:SendMessage")
    assert allowed["Condition"] == {"ArnEquals": {"aws:SourceArn": "GetAtt InboxRule.Arn"}}


def test_the_owner_of_a_given_bucket_is_told_what_to_add_to_it():
    assert not [name for name in OWN["Outputs"] if name.startswith("BucketNeeds")]
    assert "--bucket lake" in GIVEN["Outputs"]["BucketNeedsEvents"]["Value"]
    found = {rule["ID"].removeprefix("modelkeep-"): rule for rule in json.loads(lifecycle())}
    own = rules(properties("Bucket")["LifecycleConfiguration"]["Rules"])
    for name in ("inbox", "archives", "models"):
        assert found[name]["Filter"]["Prefix"] == own[name]["Prefix"]
        assert found[name]["NoncurrentVersionExpiration"] == own[name]["NoncurrentVersionExpiration"]
        assert found[name].get("Expiration", {}).get("Days") == own[name].get("ExpirationInDays")
        assert found[name]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 14}
    # Nothing of the warehouse's is touched: each rule names a prefix of ours.
    assert all(re.match(r"models/|modelkeep/", rule["Filter"]["Prefix"]) for rule in found.values())
    cors = json.loads(GIVEN["Outputs"]["BucketNeedsCors"]["Value"])
    assert cors["AllowedOrigins"] == ["https://a.example", "https://b.example"]
    assert "BucketNeedsCors" not in load_template(BucketName="lake")["Outputs"]


def lifecycle() -> str:
    return GIVEN["Outputs"]["BucketNeedsLifecycle"]["Value"]


def test_what_is_printed_fits_an_output():
    for each in GIVEN["Outputs"].values():
        assert len(each["Value"]) <= 4096  # CloudFormation's limit
        assert len(each.get("Description", "")) <= 1024


@pytest.mark.parametrize("template", [OWN, GIVEN])
@pytest.mark.case("T5", "T9")
def test_the_table_is_our_own_and_can_be_restored(template: dict[str, Any]):
    found = properties("Table", template)
    assert found["DeletionProtectionEnabled"] == "true"
    assert source()["Parameters"]["DeletionProtection"]["Default"] == "true"
    assert found["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert found["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert found["SSESpecification"] == {"SSEEnabled": True}
    assert found["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.case("T6", "T9")
def test_dead_letters_are_encrypted_kept_for_two_weeks_and_sent_by_tls():
    assert properties("DeadLetters") == {"MessageRetentionPeriod": 14 * 86_400, "SqsManagedSseEnabled": True}
    (statement,) = properties("DeadLettersPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Deny", "sqs:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
