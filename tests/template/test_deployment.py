"""What CloudFormation gets once SAM has translated the template: what linters can't see of it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.template import loading, translating
from tests.template.loading import ROOT, as_list, functions_of, load_template, resolve, resources_of, statements_of

pytestmark = pytest.mark.skipif(not translating.PYTHON.exists(), reason="the SAM CLI is not installed: make build")

GIVEN = {
    "BucketName": "lake",
    "KmsKeyArn": "arn:aws:kms:us-east-1:111122223333:key/k",
    "CorsOrigins": "https://a.example",
    "DeploymentPreference": "Canary10Percent5Minutes",
    "SnapStart": "on",
    "WorkerConcurrency": "5",
    "AlarmEmail": "a@example.com",
    "GatewayLogsRole": "create",
}
VARIANTS: list[dict[str, str]] = [{}, GIVEN, {"Tracing": "Disabled"}]
ALIAS = "live"
# AWS's own policies, by what they allow: the function's log; segments for X-Ray.
LOGS, XRAY = "AWSLambdaBasicExecutionRole", "AWSXrayWriteOnlyAccess"


@cache
def _translated(key: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return resolve(translating.translate(**dict(key)), **dict(key))


def translated(**parameters: str) -> dict[str, Any]:
    return _translated(tuple(sorted(parameters.items())))


def methods_of(template: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    (api,) = resources_of(template, "AWS::ApiGateway::RestApi").values()
    paths = api["Properties"]["Body"]["paths"]
    return {(path, method): each for path, listed in paths.items() for method, each in listed.items()}


@pytest.mark.case("T1", "T9")
def test_every_path_and_method_has_the_authorizer_but_options():
    methods = methods_of(translated())
    assert len({path for path, _ in methods}) == len([1 for _, method in methods if method == "options"])
    for (path, method), each in methods.items():
        assert each["security"] == [{"NONE" if method == "options" else "Bearer": []}], (path, method)
    (api,) = resources_of(translated(), "AWS::ApiGateway::RestApi").values()
    bearer = api["Properties"]["Body"]["components"]["securitySchemes"]["Bearer"]["x-amazon-apigateway-authorizer"]
    assert "${AuthenticateRequestFunctionAliaslive}" in bearer["authorizerUri"]
    assert bearer["authorizerResultTtlInSeconds"] == 60
    assert bearer["identitySource"] == "method.request.header.Authorization"
    assert bearer["type"] == "request"


@pytest.mark.case("T1", "T8", "T9")
def test_one_stage_logs_is_throttled_and_says_no_more_than_it_should():
    (stage,) = resources_of(translated(), "AWS::ApiGateway::Stage").values()
    assert stage["Properties"]["StageName"] == "prod"
    assert {"Key": "LogsRole", "Value": "existing"} in stage["Properties"]["Tags"]
    (deployment,) = resources_of(translated(), "AWS::ApiGateway::Deployment").values()
    assert "StageName" not in deployment["Properties"]  # else SAM's stage "Stage", open beside it
    (settings,) = stage["Properties"]["MethodSettings"]
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    assert (settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"]) == ("100", "200")
    assert settings["DataTraceEnabled"] is False
    line = stage["Properties"]["AccessLogSetting"]["Format"]
    assert "\n" not in line
    logged = json.loads(line)
    assert logged["status"] == "$context.status"
    assert logged["function_request_id"] == "$context.integration.requestId"  # by which who called joins what was asked
    assert "$context.path" not in logged.values()  # a token that was taken for an id would be in it
    allowed = {f"$context.authorizer.{name}" for name in ("principalId", "token_id", "status")}
    for value in logged.values():  # no query, no header, no claim; a token's id is no secret
        assert "query" not in value.lower() and "header" not in value.lower()
        assert not value.startswith("$context.authorizer.") or value in allowed
    assert stage["Properties"]["TracingEnabled"] is True
    (stage,) = resources_of(translated(Tracing="Disabled"), "AWS::ApiGateway::Stage").values()
    assert stage["Properties"]["TracingEnabled"] is False


@pytest.mark.parametrize("parameters", VARIANTS)
@pytest.mark.case("T2")
def test_what_is_called_is_the_alias_and_nothing_else(parameters: dict[str, str]):
    template = translated(**parameters)
    for (path, method), each in methods_of(template).items():
        assert f"Alias{ALIAS}}}/invocations" in each["x-amazon-apigateway-integration"]["uri"], (path, method)
    for name, each in resources_of(template, "AWS::Lambda::Permission").items():
        named = str(each["Properties"]["FunctionName"])
        assert named.endswith(f"Alias{ALIAS}") or named == f"${{AuthenticateRequestFunctionAlias{ALIAS}}}", name
        assert "SourceArn" in each["Properties"], name  # never all of a service
    for rule in resources_of(template, "AWS::Events::Rule").values():
        assert [target["Arn"].endswith(f"Alias{ALIAS}") for target in rule["Properties"]["Targets"]] == [True]
    for each in resources_of(template, "AWS::Lambda::EventInvokeConfig").values():
        assert each["Properties"]["Qualifier"] == ALIAS
    for folder, properties in functions_of(load_template()).items():
        for statement in statements_of(properties):
            if "lambda:InvokeFunction" in as_list(statement["Action"]):
                assert all(each.endswith(f":{ALIAS}") for each in as_list(statement["Resource"])), folder


def test_code_that_changes_in_a_layer_alone_makes_new_versions_of_all_functions(tmp_path: Path):
    changed = tmp_path / "template.yaml"
    changed.write_text((ROOT / "template.yaml").read_text().replace("layers/registry/\n", "layers/registry-2/\n"))
    before = resources_of(translated(), "AWS::Lambda::Version")
    after = resources_of(resolve(translating.translate(template=changed)), "AWS::Lambda::Version")
    assert len(before) == len(after) == len(functions_of(load_template()))
    assert set(before).isdisjoint(after)
    assert {each["DeletionPolicy"] for each in before.values()} == {"Retain"}


AUTHORIZER_ONLY = {
    "Issuer": "https://other.example.com",
    "Audience": "other",
    "JwksUrl": "https://keys.example.com",
    "UserClaim": "email",
    "GroupsClaim": "groups",
    "TokenLifetimeSeconds": "600",
}
EVERY_FUNCTION = {
    "BucketName": "lake",
    "Folder": "mk",
    "KmsKeyArn": "arn:aws:kms:R:111122223333:key/k",
    "CorsOrigins": "https://a.example",
}
ALL_OF_THEM = {
    "OwnTokenDays": "30",
    "LogLevel": "DEBUG",
    "Tracing": "PassThrough",
    "SnapStart": "on",
    "PythonRuntime": "python3.12",
    "Architecture": "x86_64",
}


@pytest.mark.parametrize("name", [*AUTHORIZER_ONLY, *EVERY_FUNCTION, *ALL_OF_THEM])
def test_a_parameter_that_changes_reaches_the_alias(name: str):
    """CloudFormation makes another version where its description is another; only then does `live` follow."""
    value = {**AUTHORIZER_ONLY, **EVERY_FUNCTION, **ALL_OF_THEM}[name]
    before = resources_of(translated(), "AWS::Lambda::Version")
    after = resources_of(translated(**{name: value}), "AWS::Lambda::Version")
    assert before.keys() == after.keys()
    changed = {
        each for each in before if before[each]["Properties"]["Description"] != after[each]["Properties"]["Description"]
    }
    authorizer = {each for each in before if each.startswith("AuthenticateRequestFunction")}
    expected = set(before)
    if name in AUTHORIZER_ONLY:
        expected = authorizer
    elif name in EVERY_FUNCTION:  # which the authorizer does not use
        expected -= authorizer
    assert changed == expected


def test_every_setting_of_a_function_is_one_whose_change_reaches_the_alias():
    """What a function is told by a parameter is among the above."""
    template = (ROOT / "template.yaml").read_text()
    told = template[template.index("Globals:") : template.index("Resources:\n")]
    names = load_template()["Parameters"]
    used = {name for name in names if f"{{{name}}}" in told or f"!Ref {name}\n" in told or f"!Ref {name}]" in told}
    assert used - {"DeploymentPreference"} <= {*EVERY_FUNCTION, *ALL_OF_THEM}


def test_a_release_by_codedeploy_goes_back_when_the_api_errs():
    assert not [each for each in translated()["Resources"].values() if "CodeDeploy" in each["Type"]]
    groups = resources_of(translated(**GIVEN), "AWS::CodeDeploy::DeploymentGroup")
    assert len(groups) == len(functions_of(load_template()))
    for each in groups.values():
        assert each["Properties"]["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes"
        alarms = [{"Name": "Ref ApiErrorsAlarm"}, {"Name": "Ref WorkerErrorsAlarm"}]
        assert each["Properties"]["AlarmConfiguration"] == {"Enabled": True, "Alarms": alarms}


@pytest.mark.parametrize("parameters", VARIANTS)
@pytest.mark.case("T3", "T9")
def test_a_role_allows_what_its_functions_policy_says_and_logs_and_no_more(parameters: dict[str, str]):
    template = translated(**parameters)
    roles = resources_of(template, "AWS::IAM::Role")
    for folder, properties in functions_of(load_template(**parameters)).items():
        role = roles.pop(folder.title().replace("_", "") + "FunctionRole")["Properties"]
        (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert (trusted["Principal"], trusted["Action"]) == ({"Service": ["lambda.amazonaws.com"]}, ["sts:AssumeRole"])
        managed = {arn.rpartition("/")[2] for arn in role["ManagedPolicyArns"]}
        assert managed == {LOGS, XRAY} if parameters.get("Tracing") != "Disabled" else {LOGS}, folder
        found = [
            statement
            for policy in role.get("Policies", ())
            for statement in as_list(policy["PolicyDocument"]["Statement"])
        ]
        expected = statements_of(properties)
        if "EventInvokeConfig" in properties and "DestinationConfig" in properties["EventInvokeConfig"]:
            (sends,) = [each for each in found if "sqs" in str(each["Action"])]
            assert sends == {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "GetAtt DeadLetters.Arn"}
            found.remove(sends)
        assert found == expected, folder
    assert set(roles) <= {"GatewayRole", "CodeDeployServiceRole"}
    for each in roles.values():
        assert "Policies" not in each["Properties"]


def test_a_functions_policy_fits_its_role_where_names_are_as_long_as_they_may_be(monkeypatch: pytest.MonkeyPatch):
    longest = {"StackName": "s" * 36, "AccountId": "1" * 12, "Region": "ap-southeast-2", "Partition": "aws-us-gov"}
    for name, value in longest.items():
        monkeypatch.setitem(loading.STACK, f"AWS::{name}", value)
    for folder, properties in functions_of(load_template(KmsKeyArn=GIVEN["KmsKeyArn"])).items():
        size = len(json.dumps(statements_of(properties), separators=(",", ":")))
        assert size < 9_500, folder  # IAM: 10,240 characters in a role's own policies, SAM's for the queue among them


@pytest.mark.parametrize("parameters", VARIANTS)
def test_a_stack_stays_far_from_the_number_of_resources_that_it_may_have(parameters: dict[str, str]):
    assert len(translated(**parameters)["Resources"]) < 300  # CloudFormation's quota is 500


def test_tracing_is_on_in_functions_unless_it_is_off():
    for parameters in VARIANTS:
        for each in resources_of(translated(**parameters), "AWS::Lambda::Function").values():
            traced = parameters.get("Tracing") != "Disabled"
            assert each["Properties"].get("TracingConfig") == ({"Mode": "Active"} if traced else None)
            variables = each["Properties"]["Environment"]["Variables"]
            assert variables["POWERTOOLS_TRACE_DISABLED"] == ("false" if traced else "true")


@pytest.mark.parametrize("parameters", VARIANTS)
def test_with_a_given_bucket_there_is_no_bucket_no_policy_of_one_and_no_notification(parameters: dict[str, str]):
    template = translated(**parameters)
    kinds = sorted(each["Type"] for each in template["Resources"].values() if each["Type"].startswith("AWS::S3::"))
    assert kinds == ([] if "BucketName" in parameters else ["AWS::S3::Bucket", "AWS::S3::BucketPolicy"])
    callers = {each["Properties"]["Principal"] for each in resources_of(template, "AWS::Lambda::Permission").values()}
    assert ("s3.amazonaws.com" in callers) == ("BucketName" not in parameters)
