"""Files in deploy/ against each other and against what `serve` takes: ports, places, users, names of settings.

They are started by test_deploy_started.py; that the images build was tried by hand: docs/DEPLOY.md.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from steersman import config as configs
from steersman.cli import framework, users
from steersman.cli.bench import KEY_VARIABLE
from steersman.engine.apart.process import END_SECONDS

DEPLOY = Path(__file__).parent.parent / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
PLACE, USER, PORT = "/var/lib/steersman", 10001, 8000
ENDS_WITHIN = configs.ServeConfig().grace_seconds + END_SECONDS
SERVE: Any = typer.main.get_command(framework.build()).commands["serve"]  # type: ignore[attr-defined]
OTHERS = {"STEERSMAN_STORE", KEY_VARIABLE, users.OIDC_SECRET, "PGPASSWORD"}
"""Variables that no option of `serve` stands for, and libpq's."""
IMAGE = {"POSTGRES_PASSWORD", "STEERSMAN_HOST", "STEERSMAN_NAME"}
"""Those of compose.yaml's database, and of entrypoint.sh."""


def known() -> set[str]:
    return OTHERS | {option.envvar for option in SERVE.params if option.envvar}


def accepted(words: list[str]) -> dict[str, Any]:
    """What `steersman serve` reads from these words; fails where it would not take them."""
    assert words[0] == "serve"
    with SERVE.make_context("serve", words[1:]) as context:
        for setting in context.params["settings"] or []:
            section, key = setting.partition("=")[0].split(".")
            assert hasattr(getattr(configs.Config(), section), key), setting
        return dict(context.params)


def stages() -> dict[str, list[tuple[str, str]]]:
    """The Dockerfile's stages, each a list of (instruction, rest)."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            source, _, name = rest.partition(" AS ")
            current = found.setdefault(name, [("FROM", source)])
        elif word:
            current.append((word, rest))
    return found


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8")))


def names_of(env_file: Path) -> set[str]:
    lines = env_file.read_text(encoding="utf-8").splitlines()
    return {line.partition("=")[0] for line in lines if line and not line.startswith("#")}


def test_the_images_run_as_nobody_and_serve_where_they_say() -> None:
    made = stages()
    assert list(made)[-1] == "whole", "what is built without --target"
    for name in ("server", "whole"):
        assert made[name][0] == ("FROM", "runtime")
        assert [rest for word, rest in made[name] if word == "USER"][-1:] in ([], [f"{USER}:{USER}"])
    runtime = dict(made["runtime"])
    assert runtime["USER"] == f"{USER}:{USER}"
    assert runtime["EXPOSE"] == str(PORT)
    assert json.loads(runtime["VOLUME"]) == [PLACE]
    assert runtime["WORKDIR"] == f"{PLACE}/workspace"
    assert f"127.0.0.1:{PORT}/readyz" in runtime["HEALTHCHECK"]
    assert json.loads(runtime["ENTRYPOINT"]) == ["steersman-entrypoint"]
    given = accepted(json.loads(runtime["CMD"]))
    assert (given["host"], given["port"], given["auth"]) == ("0.0.0.0", PORT, True)
    for rest in (rest for stage in made.values() for word, rest in stage if word == "COPY" and "--from" not in rest):
        for source in [word for word in rest.split()[:-1] if not word.startswith("--")]:
            assert (DEPLOY.parent / source).exists(), source
            ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
            assert f"!{source}" in ignored, f"{source} does not reach the build"


def test_compose_waits_for_the_database_and_gives_answers_time_to_end() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    server, database = compose["services"]["steersman"], compose["services"]["db"]
    assert server["build"]["target"] == "${STEERSMAN_TARGET:-server}"
    assert server["depends_on"]["db"] == {"condition": "service_healthy"}
    assert "healthcheck" in database
    assert server["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert server["volumes"] == [f"workspace:{PLACE}"]
    assert int(server["stop_grace_period"].rstrip("s")) > ENDS_WITHIN
    url = server["environment"]["STEERSMAN_STORE"]
    assert url == f"postgresql://{database['environment']['POSTGRES_USER']}@db/{database['environment']['POSTGRES_DB']}"
    assert {*server["environment"]} <= known()
    given = accepted([re.sub(r"\$\{STEERSMAN_HOST:.*\}", "chat.example.com", word) for word in server["command"]])
    assert (given["host"], given["port"], given["auth"]) == ("0.0.0.0", PORT, True)
    assert given["trusted_proxy"] == compose["networks"]["default"]["ipam"]["config"][0]["gateway"]
    assert {*compose["volumes"]} == {"workspace", "database"}


def test_names_in_the_environment_are_read_by_somebody() -> None:
    assert names_of(DEPLOY / "env.example") <= known() | IMAGE
    (secret,) = documents("secret.example.yaml")
    assert {*secret["stringData"]} <= known() | IMAGE
    assert "STEERSMAN_NAME" in (DEPLOY / "entrypoint.sh").read_text(encoding="utf-8")


def test_the_manifests_fit_each_other_and_the_image() -> None:
    (deployment,), (service,), (volume,) = map(documents, ("deployment.yaml", "service.yaml", "volume.yaml"))
    (ingress,), (budget,), (kustomization,) = map(documents, ("ingress.yaml", "disruption.yaml", "kustomization.yaml"))
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    given = accepted(container["args"])
    (port,) = container["ports"]
    assert (given["host"], given["port"], given["auth"]) == ("0.0.0.0", port["containerPort"], True)
    assert port["containerPort"] == PORT
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
    pause = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > pause + ENDS_WITHIN
    assert pod["spec"]["securityContext"]["runAsUser"] == pod["spec"]["securityContext"]["fsGroup"] == USER
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {f"{PLACE}/workspace", "/tmp"}
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [volume["metadata"]["name"]]
    labels = pod["metadata"]["labels"]
    assert labels == service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    (rule,) = ingress["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"]["name"] == service["metadata"]["name"]
    assert f"serve.allowed_hosts={rule['host']}" in given["settings"]
    assert pod["spec"]["enableServiceLinks"] is False, "or STEERSMAN_PORT and others come from the service's name"
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"secret.example.yaml", "kustomization.yaml"}
    assert {*kustomization["resources"]} - {"secret.yaml"} == there - {"secret.yaml"}
    assert kustomization["images"][0]["name"] == container["image"]
    (job,) = documents("admin/job.yaml")
    (users_add,) = job["spec"]["template"]["spec"]["containers"]
    image = kustomization["images"][0]
    assert users_add["image"] == f"{image['newName']}:{image['newTag']}"
    assert users_add["envFrom"] == container["envFrom"]


def test_the_unit_serves_loopback_behind_a_proxy_and_is_let_end() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "steersman.service", encoding="utf-8")
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/steersman/bin/steersman"
    given = accepted(words)
    assert (given["host"], given["port"], given["trusted_proxy"], given["auth"]) == (
        "127.0.0.1",
        PORT,
        "127.0.0.1",
        True,
    )
    assert service["WorkingDirectory"] == f"/var/lib/{service['StateDirectory']}/workspace" == f"{PLACE}/workspace"
    assert service["KillMode"] == "mixed", "the engine's process ends by itself when its parent's answers have"
    assert float(service["TimeoutStopSec"]) > ENDS_WITHIN


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "steersman.service").read_text(encoding="utf-8")
    program = shutil.which("true")
    (tmp_path / "steersman.service").write_text(text.replace("/opt/steersman/bin/steersman", str(program)))
    command = ["systemd-analyze", "verify", str(tmp_path / "steersman.service")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "steersman.service" not in told.stderr, told.stderr


def test_the_entrypoint_makes_a_workspace_once(tmp_path: Path) -> None:
    bin, work = tmp_path / "bin", tmp_path / "work"
    bin.mkdir()
    work.mkdir()
    (bin / "steersman").write_text('#!/bin/sh\necho "$@" >>"$LOG"\n[ "$1" != init ] || touch steersman.toml\n')
    (bin / "steersman").chmod(0o755)
    env = {"PATH": f"{bin}{os.pathsep}{os.environ['PATH']}", "LOG": str(tmp_path / "log"), "STEERSMAN_NAME": "A b"}
    env["STEERSMAN_HOST"] = "chat.example.com"
    for _ in range(2):
        subprocess.run(["sh", str(DEPLOY / "entrypoint.sh"), "serve", "--auth"], cwd=work, env=env, check=True)
    made = "init . --name A b --set project.domain=none --set accounts.public_url=https://chat.example.com"
    assert (tmp_path / "log").read_text().splitlines() == [made, "serve --auth", "serve --auth"]
