"""What operators and clients see of a deployment when things go wrong: the gateway's answers, alarms, the dashboard."""

from __future__ import annotations

import json
import re

import pytest

from tests.template.loading import ROOT, load_template, resources_of, source

TEMPLATE = load_template()
RESPONSES = TEMPLATE["Resources"]["Api"]["Properties"]["GatewayResponses"]
# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html, and what the
# contract says of each; None: the status stays as it is.
EXPECTED = {
    "ACCESS_DENIED": (403, "forbidden"),
    "API_CONFIGURATION_ERROR": (500, "internal"),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, "internal"),
    "AUTHORIZER_FAILURE": (503, "unavailable"),
    "BAD_REQUEST_BODY": (400, "invalid"),
    "BAD_REQUEST_PARAMETERS": (400, "invalid"),
    "DEFAULT_4XX": (None, "invalid"),
    "DEFAULT_5XX": (None, "internal"),
    "EXPIRED_TOKEN": (401, "unauthenticated"),
    "INTEGRATION_FAILURE": (503, "unavailable"),
    "INTEGRATION_TIMEOUT": (503, "timeout"),
    "INVALID_API_KEY": (401, "unauthenticated"),
    "INVALID_SIGNATURE": (401, "unauthenticated"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "not_found"),
    "QUOTA_EXCEEDED": (429, "throttled"),
    "REQUEST_TOO_LARGE": (413, "too_large"),
    "RESOURCE_NOT_FOUND": (404, "not_found"),
    "THROTTLED": (429, "throttled"),
    "UNAUTHORIZED": (401, "unauthenticated"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "invalid"),
    "WAF_FILTERED": (403, "forbidden"),
}


def test_every_error_of_the_gateways_own_is_known():
    assert set(RESPONSES) == set(EXPECTED)


@pytest.mark.parametrize("kind", sorted(EXPECTED))
def test_an_error_of_the_gateways_own_speaks_as_the_contract_does(kind: str):
    status, code = EXPECTED[kind]
    response = RESPONSES[kind]
    assert response.get("StatusCode") == status
    assert set(response["ResponseTemplates"]) == {"application/json"}
    text = response["ResponseTemplates"]["application/json"]
    # messageString is the message in quotation marks; requestId stands in some.
    body = json.loads(text.replace("$context.error.messageString", '"a message"'))
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert body["code"] == code
    headers = response["ResponseParameters"]["Headers"]
    assert ("WWW-Authenticate" in headers) == (status == 401)
    assert ("Retry-After" in headers) == (status in (429, 503))
    assert all(
        re.fullmatch("'.+'", value) for value in headers.values()
    )  # as API Gateway wants what is meant literally


@pytest.mark.parametrize("kind", sorted(EXPECTED))
def test_browsers_may_read_the_gateways_errors_where_they_may_call_at_all(kind: str):
    assert "Access-Control-Allow-Origin" not in RESPONSES[kind]["ResponseParameters"]["Headers"]
    named = load_template(CorsOrigins="https://a.example")["Resources"]["Api"]["Properties"]["GatewayResponses"]
    assert named[kind]["ResponseParameters"]["Headers"]["Access-Control-Allow-Origin"] == "'*'"


@pytest.mark.case("U21")
@pytest.mark.case("T6", "T9", "T10")
def test_alarms_tell_whoever_is_named_and_by_default_nobody():
    topic = "arn:aws:sns:us-east-1:111122223333:ops"
    for parameters, expected in (
        ({}, []),
        ({"AlarmEmail": "a@example.com"}, ["Ref AlarmTopic"]),
        ({"AlarmEmail": "a@example.com", "AlarmTopicArn": topic}, ["Ref AlarmTopic", topic]),
    ):
        template = load_template(**parameters)
        assert bool(resources_of(template, "AWS::SNS::Topic")) == ("AlarmEmail" in parameters)
        alarms = resources_of(template, "AWS::CloudWatch::Alarm")
        assert set(alarms) == {
            *("ApiErrorsAlarm", "WorkerErrorsAlarm", "ThrottlesAlarm", "DeadLettersAlarm", "OldestWorkAlarm"),
            "DamagedFilesAlarm",
        }
        for each in alarms.values():
            assert each["Properties"]["AlarmActions"] == each["Properties"]["OKActions"] == expected
            assert each["Properties"]["AlarmDescription"]


@pytest.mark.case("T10")
def test_one_dead_letter_and_one_refusal_for_want_of_capacity_are_an_alarm_and_so_are_three_errors_in_a_minute():
    alarms = {name: each["Properties"] for name, each in resources_of(TEMPLATE, "AWS::CloudWatch::Alarm").items()}
    for name, threshold, minutes in (
        ("DeadLettersAlarm", 1, 5),
        ("ThrottlesAlarm", 1, 5),
        ("ApiErrorsAlarm", 3, 1),
        ("WorkerErrorsAlarm", 3, 1),
    ):
        found = alarms[name]
        assert (found["Threshold"], found["ComparisonOperator"]) == (threshold, "GreaterThanOrEqualToThreshold"), name
        stats = [each["MetricStat"] for each in found.get("Metrics", ()) if "MetricStat" in each] or [found]
        assert {each["Period"] for each in stats} == {60 * minutes}, name
    assert alarms["DeadLettersAlarm"]["Dimensions"] == [{"Name": "QueueName", "Value": "GetAtt DeadLetters.QueueName"}]


def test_metrics_are_told_apart_by_stack_as_the_functions_name_it():
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    service = {"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}
    oldest = TEMPLATE["Resources"]["OldestWorkAlarm"]["Properties"]
    assert oldest["Namespace"] == variables["POWERTOOLS_METRICS_NAMESPACE"] == "Modelkeep"
    assert oldest["Dimensions"] == [service]
    assert oldest["TreatMissingData"] == "breaching"  # a sweep that is dead says nothing
    (counted,) = TEMPLATE["Resources"]["Faults"]["Properties"]["MetricTransformations"]
    faults = TEMPLATE["Resources"]["ApiErrorsAlarm"]["Properties"]
    assert (faults["Namespace"], faults["MetricName"]) == (counted["MetricNamespace"], counted["MetricName"])
    assert faults["Dimensions"] == [service]
    (counted,) = TEMPLATE["Resources"]["Throttled"]["Properties"]["MetricTransformations"]
    metrics = TEMPLATE["Resources"]["ThrottlesAlarm"]["Properties"]["Metrics"]
    (api,) = [each["MetricStat"]["Metric"] for each in metrics if each["Id"] == "api"]
    assert (api["Namespace"], api["MetricName"]) == (counted["MetricNamespace"], counted["MetricName"])
    assert api["Dimensions"] == [service]
    line = json.loads(TEMPLATE["Resources"]["Api"]["Properties"]["AccessLogSetting"]["Format"])
    assert line[counted["Dimensions"][0]["Value"].removeprefix("$.")] == service["Value"]


def test_the_dashboard_is_whole():
    body = json.loads(TEMPLATE["Resources"]["Dashboard"]["Properties"]["DashboardBody"])
    assert len(body["widgets"]) == 8
    taken = {(each["x"], each["y"]) for each in body["widgets"]}
    assert len(taken) == len(body["widgets"])


def test_the_gateways_log_role_is_the_accounts_unless_asked_for_and_then_stays():
    assert not resources_of(TEMPLATE, "AWS::ApiGateway::Account")
    made = load_template(GatewayLogsRole="create")["Resources"]
    assert made["Api"]["Properties"]["Tags"] == {"LogsRole": "Ref GatewayAccount"}
    for name in ("GatewayAccount", "GatewayRole"):
        assert made[name]["DeletionPolicy"] == made[name]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.case("T2")
def test_every_waiver_has_its_reason_beside_it():
    waivers = re.findall(r"(?m)^ +- (CKV\w+)(.*)$", (ROOT / ".checkov.yaml").read_text())
    assert waivers
    assert [name for name, reason in waivers if not re.match(r" # \w.{20,}", reason)] == []


def test_every_parameter_is_explained():
    told = (ROOT / "docs" / "deploy.md").read_text()
    assert [name for name in source()["Parameters"] if f"`{name}`" not in told] == []
