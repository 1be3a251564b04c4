"""Whether an MPIJob has the fields of that custom resource, of their types: mpijob.py FILE."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

# Published by kubeflow/mpi-operator on GitHub: manifests/base/kubeflow.org_mpijobs.yaml, version
# v2beta1, and sdk/python/v2beta1/docs/V2beta1MPIJobSpec.md. Of pods, what the file uses, from the API
# of Kubernetes 1.32 (PodTemplateSpec). A dict has fields, a list one kind of item, a tuple the values
# that are allowed.
_RESOURCES = {"limits": {"cpu": str, "memory": str}, "requests": {"cpu": str, "memory": str}}
_CONTAINER = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "securityContext": {"runAsUser": int},
    "readinessProbe": {"tcpSocket": {"port": int}, "initialDelaySeconds": int},
    "resources": _RESOURCES,
    "volumeMounts": [{"name": str, "mountPath": str}],
}
_REPLICAS = {
    "replicas": int,
    "restartPolicy": ("Never", "OnFailure"),
    "template": {
        "metadata": {"labels": dict, "annotations": dict},
        "spec": {
            "containers": [_CONTAINER],
            "securityContext": {"fsGroup": int},
            "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}}],
        },
    },
}
_JOB = {
    "apiVersion": ("kubeflow.org/v2beta1",),
    "kind": ("MPIJob",),
    "metadata": {"name": str, "namespace": str, "labels": dict},
    "spec": {
        "launcherCreationPolicy": ("AtStartup", "WaitForWorkersReady"),
        "mpiImplementation": ("OpenMPI", "Intel", "MPICH"),
        "mpiReplicaSpecs": {"Launcher": _REPLICAS, "Worker": _REPLICAS},
        "runLauncherAsWorker": bool,
        "runPolicy": {
            "activeDeadlineSeconds": int,
            "backoffLimit": int,
            "cleanPodPolicy": ("All", "Running", "None"),
            "suspend": bool,
            "ttlSecondsAfterFinished": int,
        },
        "slotsPerWorker": int,
        "sshAuthMountPath": str,
    },
}
_REQUIRED = ("apiVersion", "kind", "metadata.name", "spec.mpiReplicaSpecs.Launcher")


def problems(found: Any, expected: Any, place: str) -> list[str]:
    """What is there that should not be, each with its place."""
    if isinstance(expected, tuple):
        return [] if found in expected else [f"{place}: {found!r}, expected one of {expected}"]
    if isinstance(expected, type):
        fits = type(found) is expected
        return [] if fits else [f"{place}: {found!r}, expected {expected.__name__}"]
    if type(found) is not type(expected):
        return [f"{place}: {found!r}, expected {type(expected).__name__}"]
    if isinstance(expected, list):
        pairs = [(item, expected[0], f"{place}[{i}]") for i, item in enumerate(found)]
    else:
        unknown = [f"{place}.{key}: no such field" for key in found if key not in expected]
        known = [(found[key], expected[key], f"{place}.{key}") for key in found if key in expected]
        return unknown + [text for item in known for text in problems(*item)]
    return [text for item in pairs for text in problems(*item)]


def main() -> int:
    job = yaml.safe_load(Path(sys.argv[1]).read_text())
    wrong = problems(job, _JOB, "")
    for path in _REQUIRED:
        value: Any = job
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            wrong.append(f".{path}: missing")
    for text in wrong:
        print(f"{sys.argv[1]}: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
