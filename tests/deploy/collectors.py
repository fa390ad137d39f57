"""Configurations of the collector: several files as one, without what a binary at hand does not have, and validated."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.backends import builds

Config = dict[str, Any]


def merged(*files: Path) -> Config:
    """What the collector makes of several files: mappings are merged, everything else is replaced."""
    config: Config = {}
    for file in files:
        _merge(config, yaml.safe_load(file.read_text()))
    return config


def _merge(onto: Config, other: Config) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(onto.get(key), dict):
            _merge(onto[key], value)
        else:
            onto[key] = value


def without(config: Config, kinds: Iterable[str]) -> Config:
    """The configuration without components of some kinds, and without pipelines that have nothing left to do."""

    def stays(name: str) -> bool:
        return name.partition("/")[0] not in kinds

    for section in ("receivers", "processors", "exporters", "connectors"):
        config[section] = {name: one for name, one in config.get(section, {}).items() if stays(name)}
        for pipeline in config["service"]["pipelines"].values():
            if section != "connectors" and section in pipeline:
                pipeline[section] = [name for name in pipeline[section] if stays(name)]
    pipelines = config["service"]["pipelines"]
    config["service"]["pipelines"] = {
        name: one for name, one in pipelines.items() if one["receivers"] and one["exporters"]
    }
    return config


def validated(binary: str, *configs: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """What `otelcol validate` says of configurations; exit code 0 means valid.

    Args:
        binary: Which of the collectors, by the name of its recipe.
        configs: The files, in order.
        env: Variables that they read.
    """
    command = [str(builds.build(binary)), "validate", *(f"--config={file}" for file in configs)]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False)
