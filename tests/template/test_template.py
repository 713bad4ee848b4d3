"""The template says what the code says: one function a folder, its routes; and what a deployment must not lack."""

from __future__ import annotations

import importlib
import json
import re

import pytest

from local.app import find_routers
from tests.template.loading import ROOT, as_list, functions_of, load_template, resources_of, statements_of

TEMPLATE = load_template()
FUNCTIONS = functions_of(TEMPLATE)
FOLDERS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
ROUTES = {route.operation_id: route for router in find_routers() for route in router.routes}


def test_every_folder_is_a_function_and_every_function_a_folder():
    named = resources_of(TEMPLATE, "AWS::Serverless::Function")
    assert sorted(FUNCTIONS) == FOLDERS
    assert len(named) == len(FOLDERS)
    for logical_id, resource in named.items():
        folder = resource["Properties"]["CodeUri"].split("/")[1]
        assert resource["Properties"]["CodeUri"] == f"functions/{folder}/"
        assert logical_id == folder.title().replace("_", "") + "Function"


def test_a_function_is_found_by_the_prefix_that_tasks_puts_before_its_folder():
    prefix = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["REGISTRY_FUNCTIONS_PREFIX"]
    for folder, properties in FUNCTIONS.items():
        assert properties["FunctionName"] == prefix + folder


def events(kind: str) -> dict[str, list[dict]]:
    return {
        folder: [event["Properties"] for event in properties.get("Events", {}).values() if event["Type"] == kind]
        for folder, properties in FUNCTIONS.items()
    }


def test_every_route_of_the_code_is_one_of_the_template_and_the_reverse():
    expected = {}
    for name, route in ROUTES.items():
        (method,) = route.methods
        expected[name] = [(method, re.sub(r"\{(\w+):path\}", r"{\1+}", route.path))]
    found = {
        folder: [(event["Method"].upper(), event["Path"]) for event in listed]
        for folder, listed in events("Api").items()
        if listed
    }
    assert found == expected


def test_every_path_has_the_authorizer():
    auth = TEMPLATE["Resources"]["Api"]["Properties"]["Auth"]
    authorizer = auth["Authorizers"][auth["DefaultAuthorizer"]]
    assert authorizer["FunctionArn"] == "GetAtt AuthenticateRequestFunction.Arn"
    assert authorizer["Identity"]["Headers"] == ["Authorization"]
    assert authorizer["Identity"]["ReauthorizeEvery"] <= 60
    for listed in events("Api").values():
        for event in listed:
            assert event["RestApiId"] == "Ref Api"
            assert "Auth" not in event  # nothing of its own: the default holds
    assert TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["REGISTRY_AUTHENTICATION"] == "authorizer"


def test_files_pass_the_gateway_unharmed():
    assert TEMPLATE["Resources"]["Api"]["Properties"]["BinaryMediaTypes"] == ["*~1*"]


def test_no_environment_holds_a_secret():
    assert set(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]) == {
        "REGISTRY_BUCKET",
        "REGISTRY_TABLE",
        "REGISTRY_AUTHENTICATION",
        "REGISTRY_FUNCTIONS_PREFIX",
    }
    assert not [folder for folder, properties in FUNCTIONS.items() if "Environment" in properties]


def test_an_event_of_the_inbox_and_no_other_wakes_receive_upload():
    (event,) = events("S3")["receive_upload"]
    (rule,) = event["Filter"]["S3Key"]["Rules"]
    assert rule == {"Name": "prefix", "Value": "modelkeep/uploads/"}
    assert [folder for folder, listed in events("S3").items() if listed] == ["receive_upload"]


def test_an_event_is_tried_again_and_then_kept():
    properties = FUNCTIONS["receive_upload"]
    assert properties["EventInvokeConfig"]["MaximumRetryAttempts"] == 2
    assert properties["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Destination"] == "GetAtt DeadLetters.Arn"
    assert properties["RecursiveLoop"] == "Allow"


def test_the_sweep_is_on_a_schedule():
    (event,) = events("Schedule")["sweep_uploads"]
    assert event["Schedule"] in ("rate(1 minute)", "rate(5 minutes)")


def test_every_function_has_a_policy_of_its_own_and_no_role_that_others_share():
    for folder, properties in FUNCTIONS.items():
        assert "Role" not in properties
        assert bool(statements_of(properties)) == (folder != "authenticate_request")
    assert "Policies" not in TEMPLATE["Globals"]["Function"]


def test_no_policy_has_a_wildcard_but_the_end_of_a_prefix():
    below = r"arn:aws:s3:::S-A-R/(models|modelkeep/uploads|modelkeep/archives)/\*"
    for folder, properties in FUNCTIONS.items():
        for statement in statements_of(properties):
            assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}, folder
            assert statement["Effect"] == "Allow"
            assert not [action for action in as_list(statement["Action"]) if "*" in action], folder
            for resource in as_list(statement["Resource"]):
                assert "*" not in resource or re.fullmatch(below, resource), (folder, resource)


def test_the_bucket_is_private_encrypted_and_reached_by_tls_alone():
    bucket = TEMPLATE["Resources"]["Bucket"]
    properties = bucket["Properties"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["BucketEncryption"]
    (statement,) = TEMPLATE["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Resource"] == ["GetAtt Bucket.Arn", "${Bucket.Arn}/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_what_the_sweep_misses_is_expired_by_the_bucket():
    rules = {
        rule["Id"]: rule for rule in TEMPLATE["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    }
    assert (rules["inbox"]["Prefix"], rules["inbox"]["ExpirationInDays"]) == ("modelkeep/uploads/", 14)
    assert (rules["archives"]["Prefix"], rules["archives"]["ExpirationInDays"]) == ("modelkeep/archives/", 7)
    assert rules["multiparts"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 14}
    assert all("ExpirationInDays" not in rule for rule in rules.values() if not rule.get("Prefix"))


def test_the_table_is_kept_and_can_be_restored():
    table = TEMPLATE["Resources"]["Table"]
    properties = table["Properties"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    assert properties["DeletionProtectionEnabled"] == "Ref DeletionProtection"
    assert TEMPLATE["Parameters"]["DeletionProtection"]["Default"] == "true"
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    assert properties["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_function_has_an_event_to_try_it_with(folder: str):
    event = json.loads((ROOT / "tests" / "events" / f"{folder}.json").read_text())
    if folder in ROUTES:
        assert (event["httpMethod"], event["resource"]) == (next(iter(ROUTES[folder].methods)), ROUTES[folder].path)
        assert event["requestContext"]["authorizer"]["principalId"]


def test_the_events_to_try_functions_with_are_understood(on_moto: None):
    for folder in FOLDERS:
        if folder == "authenticate_request":
            continue
        event = json.loads((ROOT / "tests" / "events" / f"{folder}.json").read_text())
        answer = importlib.import_module(f"functions.{folder}.app").lambda_handler(event, None)
        # Whatever needs a model or an upload may find none; nothing is refused as malformed.
        assert folder not in ROUTES or answer["statusCode"] in (200, 201, 404), (folder, answer["body"])
