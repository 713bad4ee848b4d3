"""The template says what the code says: one function a folder, its routes; and what a deployment must not lack."""

from __future__ import annotations

import importlib
import json
import re

import pytest
from registry.settings import get_settings

from local.app import find_routers
from tests.template.loading import ROOT, as_list, functions_of, load_template, resources_of, source, statements_of

TEMPLATE = load_template()
FUNCTIONS = functions_of(TEMPLATE)
FOLDERS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
ROUTES = {route.operation_id: route for router in find_routers() for route in router.routes}
WORKERS = ("build_archive", "receive_upload", "sweep_uploads", "verify_files")


def resource_of(path: str) -> str:
    """A route's path as API Gateway writes it."""
    return re.sub(r"\{(\w+):path\}", r"{\1+}", path)


def test_every_folder_is_a_function_and_every_function_a_folder():
    named = resources_of(TEMPLATE, "AWS::Serverless::Function")
    assert sorted(FUNCTIONS) == FOLDERS
    assert len(named) == len(FOLDERS)
    for logical_id, resource in named.items():
        folder = resource["Properties"]["CodeUri"].split("/")[1]
        assert resource["Properties"]["CodeUri"] == f"functions/{folder}/"
        assert logical_id == folder.title().replace("_", "") + "Function"


def test_a_function_is_found_by_the_prefix_that_tasks_puts_before_its_folder():
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    for folder, properties in FUNCTIONS.items():
        assert properties["FunctionName"] == variables["REGISTRY_FUNCTIONS_PREFIX"] + folder
    assert variables["REGISTRY_FUNCTIONS_QUALIFIER"] == TEMPLATE["Globals"]["Function"]["AutoPublishAlias"]


def events(kind: str) -> dict[str, list[dict]]:
    return {
        folder: [event["Properties"] for event in properties.get("Events", {}).values() if event["Type"] == kind]
        for folder, properties in FUNCTIONS.items()
    }


def test_every_route_of_the_code_is_one_of_the_template_and_the_reverse():
    expected = {}
    for name, route in ROUTES.items():
        (method,) = route.methods
        expected[name] = [(method, resource_of(route.path))]
    found = {
        folder: [(event["Method"].upper(), event["Path"]) for event in listed]
        for folder, listed in events("Api").items()
        if listed and folder != "answer_options"
    }
    assert found == expected


@pytest.mark.case("T1")
def test_every_path_answers_options_without_a_token_and_nothing_else_does():
    listed = events("Api")
    preflights = listed.pop("answer_options")
    assert {event["Method"] for event in preflights} == {"options"}
    assert all(event["Auth"] == {"Authorizer": "NONE"} for event in preflights)
    paths = sorted({event["Path"] for each in listed.values() for event in each})
    assert sorted(event["Path"] for event in preflights) == paths
    for event in (event for each in listed.values() for event in each):
        assert event["RestApiId"] == "Ref Api"
        assert "Auth" not in event  # nothing of its own: the default holds


def test_an_issuer_has_to_be_named_and_is_told_to_the_authorizer_alone():
    parameters = source()["Parameters"]
    for name in ("Issuer", "Audience"):
        assert "Default" not in parameters[name]
    assert not re.fullmatch(parameters["Issuer"]["AllowedPattern"], "")
    assert not re.fullmatch(parameters["Issuer"]["AllowedPattern"], "http://issuer.example.com")
    assert re.fullmatch(parameters["Issuer"]["AllowedPattern"], "https://issuer.example.com/realms/a")
    assert parameters["Audience"]["MinLength"] >= 1
    own = {folder: each["Environment"]["Variables"] for folder, each in FUNCTIONS.items() if "Environment" in each}
    assert own == {
        "authenticate_request": {
            "REGISTRY_ISSUER": "https://issuer.example.com",
            "REGISTRY_JWKS_URL": "",
            "REGISTRY_AUDIENCE": "modelkeep",
            "REGISTRY_USER_CLAIM": "sub",
            "REGISTRY_GROUPS_CLAIM": "",
            "REGISTRY_TOKEN_LIFETIME_SECONDS": "86400",
        }
    }
    assert TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["REGISTRY_AUTHENTICATION"] == "authorizer"


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("", True),
        ("https://issuer.example.com/keys", True),
        ("http://host.docker.internal:8123/keys", True),
        ("http://127.0.0.1:8123/keys", True),
        ("http://issuer.example.com/keys", False),
        ("http://127.0.0.1.example.com/keys", False),
        ("http://localhost@example.com/keys", False),
    ],
)
def test_keys_are_fetched_by_tls_but_from_this_machine(url: str, taken: bool):
    assert bool(re.fullmatch(source()["Parameters"]["JwksUrl"]["AllowedPattern"], url)) is taken


def test_files_pass_the_gateway_unharmed():
    assert TEMPLATE["Resources"]["Api"]["Properties"]["BinaryMediaTypes"] == ["*~1*"]


@pytest.mark.case("T2")
def test_no_environment_holds_a_secret():
    assert set(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]) == {
        "REGISTRY_BUCKET",
        "REGISTRY_TABLE",
        "REGISTRY_INBOX_PREFIX",
        "REGISTRY_ARCHIVES_PREFIX",
        "REGISTRY_AUTHENTICATION",
        "REGISTRY_OWN_TOKEN_DAYS",
        "REGISTRY_FUNCTIONS_PREFIX",
        "REGISTRY_FUNCTIONS_QUALIFIER",
        "REGISTRY_INSTALLATION",
        "REGISTRY_KMS_KEY",
        "REGISTRY_CORS_ORIGINS",
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_LOG_LEVEL",
        "POWERTOOLS_TRACE_DISABLED",
    }


@pytest.mark.case("U21")
@pytest.mark.case("T2", "T8", "T9")
def test_an_event_is_tried_again_and_then_kept():
    for folder in ("receive_upload", "build_archive"):
        config = FUNCTIONS[folder]["EventInvokeConfig"]
        assert config["MaximumRetryAttempts"] == 2
        assert config["DestinationConfig"]["OnFailure"] == {"Type": "SQS", "Destination": "GetAtt DeadLetters.Arn"}


def test_a_function_that_starts_itself_may_and_no_other():
    own = {folder for folder, each in FUNCTIONS.items() if f"function:S-{folder}" in str(statements_of(each))}
    assert own == {"build_archive", "receive_upload"}
    assert own == {folder for folder, each in FUNCTIONS.items() if each.get("RecursiveLoop") == "Allow"}
    assert own == {folder for folder, each in FUNCTIONS.items() if "RecursiveLoop" in each}


def test_the_sweep_is_on_a_schedule():
    (event,) = events("Schedule")["sweep_uploads"]
    assert event["Schedule"] in ("rate(1 minute)", "rate(5 minutes)")


def test_files_are_verified_once_a_day_as_many_as_is_said_and_by_nobody_where_none_are():
    for gibibytes, state in (("1", "ENABLED"), ("0", "DISABLED")):
        function = functions_of(load_template(VerifyGibibytes=gibibytes))["verify_files"]
        (event,) = [each["Properties"] for each in function["Events"].values()]
        assert (event["Schedule"], event["State"]) == ("rate(1 day)", state)
        assert json.loads(event["Input"]) == {"gibibytes": int(gibibytes)}
    assert (
        float(source()["Parameters"]["VerifyGibibytes"]["Default"]) <= 1
    )  # a sample: next to nothing while nobody calls


@pytest.mark.case("T3")
def test_every_function_has_a_policy_of_its_own_and_no_role_that_others_share():
    for folder, properties in FUNCTIONS.items():
        assert "Role" not in properties
        assert bool(statements_of(properties)) == (folder != "answer_options")
    assert "Policies" not in TEMPLATE["Globals"]["Function"]


@pytest.mark.case("T3", "T8", "T9")
def test_no_policy_has_a_wildcard_but_the_end_of_a_prefix():
    below = r"arn:aws:s3:::S-A-R/(models|modelkeep/uploads|modelkeep/uploads/_probe|modelkeep/archives)/\*"
    for folder, properties in FUNCTIONS.items():
        for statement in statements_of(properties):
            assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}, folder
            assert statement["Effect"] == "Allow"
            assert not [action for action in as_list(statement["Action"]) if "*" in action], folder
            for resource in as_list(statement["Resource"]):
                assert "*" not in resource or re.fullmatch(below, resource), (folder, resource)


@pytest.mark.case("T6", "T8", "T9")
def test_a_functions_log_is_its_own_and_does_not_grow_for_ever():
    logs = {name: each["Properties"] for name, each in resources_of(TEMPLATE, "AWS::Logs::LogGroup").items()}
    assert {each["RetentionInDays"] for each in logs.values()} == {"90"}
    for folder, properties in FUNCTIONS.items():
        group = properties["LoggingConfig"]["LogGroup"].removeprefix("Ref ")
        assert logs[group]["LogGroupName"] == f"/aws/lambda/{properties['FunctionName']}", folder


@pytest.mark.case("T2", "T9")
def test_workers_reserve_concurrency_where_that_is_asked_and_the_sweep_never():
    for count, expected in (("0", {}), ("7", {"receive_upload": "7", "build_archive": "7"})):
        found = functions_of(load_template(WorkerConcurrency=count))
        assert {
            folder: each["ReservedConcurrentExecutions"]
            for folder, each in found.items()
            if "ReservedConcurrentExecutions" in each
        } == expected


def test_snapshots_are_for_those_who_are_waited_for():
    assert load_template()["Globals"]["Function"]["SnapStart"] == {"ApplyOn": "None"}
    assert load_template(SnapStart="on")["Globals"]["Function"]["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert {folder for folder, each in FUNCTIONS.items() if each.get("SnapStart") == {"ApplyOn": "None"}} == {*WORKERS}
    ((assertion,),) = [rule["Assertions"] for rule in source()["Rules"].values()]
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "PythonRuntime"}, "python3.11"]}]}


@pytest.mark.parametrize(("variable", "parameter"), [("RUNTIME", "PythonRuntime"), ("ARCHITECTURE", "Architecture")])
def test_what_is_built_is_what_is_deployed_where_nobody_says_otherwise(variable: str, parameter: str):
    makefiles = [path.read_text() for path in (ROOT / "layers").glob("*/Makefile")]
    said = {value for text in makefiles for value in re.findall(rf"(?m)^{variable} \?= (.*)$", text)}
    assert said == {source()["Parameters"][parameter]["Default"]}


@pytest.mark.case("T8")
def test_memory_and_timeout_have_a_reason_beside_them():
    lines = (ROOT / "template.yaml").read_text().splitlines()
    named = [line for line in lines if re.match(r" +(MemorySize|Timeout): ", line)]
    assert len(named) > 10
    assert [line for line in named if not re.search(r"# \w", line)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_function_has_an_event_to_try_it_with(folder: str):
    event = json.loads((ROOT / "tests" / "events" / f"{folder}.json").read_text())
    if folder in ROUTES:
        assert (event["httpMethod"], event["resource"]) == (
            next(iter(ROUTES[folder].methods)),
            resource_of(ROUTES[folder].path),
        )
        assert event["requestContext"]["authorizer"]["principalId"]


def test_the_events_to_try_functions_with_are_understood(on_moto: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REGISTRY_AUTHENTICATION", "authorizer")  # who calls is in them
    get_settings.cache_clear()
    for folder in FOLDERS:
        if folder == "authenticate_request":
            continue
        event = json.loads((ROOT / "tests" / "events" / f"{folder}.json").read_text())
        answer = importlib.import_module(f"functions.{folder}.app").lambda_handler(event, None)
        # Whatever needs a model or an upload may find none; nothing is refused as malformed.
        assert folder not in ROUTES or answer["statusCode"] in (200, 201, 404), (folder, answer["body"])
