"""The linters of `make lint-template` look at what CloudFormation gets, and see there what they are asked to see."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.template.loading import ROOT

CHECKOV, CFN_LINT = ROOT / ".venv-checkov/bin/checkov", ROOT / ".venv-sam/bin/cfn-lint"
WAIVED = set(re.findall(r"(?m)^ +- (CKV\w+)", (ROOT / ".checkov.yaml").read_text()))
MAKEFILE = (ROOT / "Makefile").read_text()

# By case, checkov's rules. A test of ours stands where one is waived (.checkov.yaml says why) or sees nothing.
RULES = [
    pytest.param(
        {
            "CKV_AWS_73": "test_one_stage_logs_is_throttled_and_says_no_more_than_it_should",
            "CKV_AWS_76": None,
            # It looks at AWS::ApiGateway::Method, of which SAM makes none.
            "CKV_AWS_59": "test_every_path_and_method_has_the_authorizer_but_options",
        },
        marks=pytest.mark.case("T1"),
    ),
    pytest.param(
        {
            "CKV_AWS_45": None,
            "CKV_AWS_115": "test_workers_reserve_concurrency_where_that_is_asked_and_the_sweep_never",
            "CKV_AWS_116": "test_an_event_is_tried_again_and_then_kept",
            "CKV_AWS_173": "test_no_environment_holds_a_secret",
            "CKV_AWS_363": None,
            "CKV_AWS_364": None,
        },
        marks=pytest.mark.case("T2"),
    ),
    pytest.param(
        {f"CKV_AWS_{number}": None for number in (60, 61, 62, 63, 107, 108, 109, 110, 111)},
        marks=pytest.mark.case("T3"),
    ),
    pytest.param(
        {
            "CKV_AWS_18": "test_the_bucket_is_private_encrypted_and_reached_by_tls_alone",
            **{f"CKV_AWS_{number}": None for number in (20, 21, 53, 54, 55, 56, 57)},
            "CKV_AWS_19": "test_the_bucket_is_private_encrypted_and_reached_by_tls_alone",  # passes whatever there is
        },
        marks=pytest.mark.case("T4"),
    ),
    pytest.param(
        {"CKV_AWS_28": None, "CKV_AWS_119": "test_the_table_is_our_own_and_can_be_restored"},
        marks=pytest.mark.case("T5"),
    ),
    pytest.param(
        {
            "CKV_AWS_66": None,
            "CKV_AWS_158": "test_a_functions_log_is_its_own_and_does_not_grow_for_ever",
            "CKV_AWS_27": "test_dead_letters_are_encrypted_kept_for_two_weeks_and_sent_by_tls",
            "CKV_AWS_26": "test_alarms_tell_whoever_is_named_and_by_default_nobody",
            "CKV_AWS_7": "test_a_given_bucket_is_left_as_it_is",  # no key is ours: one may be given
        },
        marks=pytest.mark.case("T6"),
    ),
]
SEEN = {name for rules in RULES for name, ours in rules.values[0].items() if ours is None}  # type: ignore[attr-defined]


@pytest.mark.parametrize("rules", RULES)
def test_a_rule_of_checkovs_holds_or_a_test_of_ours_stands_in_for_it(rules: dict[str, str | None]) -> None:
    tests = {
        node.name
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    for rule, ours in rules.items():
        assert ours is None or ours in tests, rule
        assert rule not in WAIVED or ours, f"{rule} is waived, and nothing is in its place"


def test_the_linters_read_what_cloudformation_gets_for_either_bucket() -> None:
    recipe = MAKEFILE[MAKEFILE.index("\nlint-template:") :].partition("\n\n")[0]
    for made in (
        "$(TRANSLATE) > .aws-sam/lint/own-bucket.json",
        "$(TRANSLATE) $(GIVEN) > .aws-sam/lint/given-bucket.json",
    ):
        assert made in recipe
    assert re.search(r"cfn-lint \$\(CFN_LINT\) -- \.aws-sam/lint/\*\.json", recipe)
    assert re.search(r"checkov --config-file \.checkov\.yaml --file template\.yaml \.aws-sam/lint/\*\.json", recipe)


ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def trust(whom: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"AWS": whom}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


# A stack in which everything is wrong.
SPOILT: dict[str, dict[str, Any]] = {
    "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"AccessControl": "PublicReadWrite"}},
    "OtherBucket": {
        "Type": "AWS::S3::Bucket",
        "Properties": {"AccessControl": "PublicRead"},
        "DeletionPolicy": "Retain",
    },
    "Table": {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        },
    },
    "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {}},
    "Queue": {"Type": "AWS::SQS::Queue", "Properties": {}},
    "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust("*")}},
    "OtherRole": {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": trust(["arn:aws:iam::111122223333:root"]),
            "Policies": [{"PolicyName": "all", "PolicyDocument": ANYTHING}],
        },
    },
    "Policy": {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"PolicyDocument": ANYTHING, "Roles": [{"Ref": "Role"}]},
    },
    "Function": {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "Code": {"S3Bucket": "built", "S3Key": "code"},
            "Handler": "app.handler",
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Runtime": "python3.6",
            # AWS's example of one, from its documentation
            "Environment": {
                "Variables": {"ID": "AKIAIOSFODNN7EXAMPLE", "KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
            },
        },
    },
    "Permission": {
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "Action": "lambda:InvokeFunction",
            "FunctionName": {"Ref": "Function"},
            "Principal": "s3.amazonaws.com",
        },
    },
    "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "api"}},
    "Stage": {
        "Type": "AWS::ApiGateway::Stage",
        "Properties": {"RestApiId": {"Ref": "Api"}, "DeploymentId": {"Ref": "Deployment"}, "StageName": "prod"},
    },
    "Deployment": {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "Api"}}},
}


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": SPOILT}))
    return path


@pytest.mark.skipif(not CHECKOV.exists(), reason="checkov is not installed: make lint")
@pytest.mark.case("T1", "T2", "T3", "T4", "T5", "T6")
def test_checkov_sees_in_a_spoilt_stack_what_it_is_asked_to_see(spoilt: Path) -> None:
    command = [CHECKOV, "--config-file", ROOT / ".checkov.yaml", "--file", spoilt, "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=spoilt.parent)
    said = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    found = {each["check_id"] for each in said["results"]["failed_checks"]}
    assert SEEN - found == set()


@pytest.mark.skipif(not CFN_LINT.exists(), reason="cfn-lint is not installed: make lint")
@pytest.mark.case("T7")
def test_cfn_lint_sees_in_a_spoilt_stack_what_it_is_asked_to_see(spoilt: Path) -> None:
    """Of the case's rules those about SQS sources, methods and authorizers (E3505, E3699, E3708, E3718) and passwords
    (W1011, W2501) are on too, and have nothing to look at: SAM writes the API as one body, and no password is in it.
    I3011 would have logs and dead letters outlive the stack: that bucket and table do is a test of ours."""
    options = re.search(r"(?m)^CFN_LINT := (.*)$", MAKEFILE)
    assert options is not None
    command = [str(CFN_LINT), *options[1].split(), "--format", "json", "--", str(spoilt)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=spoilt.parent)
    found = {each["Rule"]["Id"] for each in json.loads(done.stdout)}
    assert {"W3011", "I3013"} - found == set(), done.stderr
    assert found & {"E2531", "E2533"}  # by then none of that runtime may be made, or none be changed either
    assert not {"E3505", "E3699", "E3708", "E3718", "W1011", "W2501"} & set(options[1].split())
