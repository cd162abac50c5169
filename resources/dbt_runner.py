"""Runs the dbt project: its manifest, parsed once per version of the project, and its builds.

Belongs here: calling dbt and translating its events by dagster-dbt. Not here: SQL (see `dbt_project`), which model is
which asset (see `assets.marts`).

dbt and dagster-dbt take seconds to import, so they are imported where dbt runs. A manifest needs no database.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import psutil
from sqlalchemy.engine import URL, make_url

from assets.failures import PermanentFailure
from assets.marts.ports import DbtEvent

if TYPE_CHECKING:
    from dagster_dbt import DagsterDbtTranslator, DbtCliResource

#: Name of the warehouse's database unless its URL says another.
DATABASE = "offerline"
#: Folders of a project that dbt writes itself.
_WRITTEN_BY_DBT = {"target", "logs", "dbt_packages"}
_MANIFEST, _PARTIAL_PARSE = "manifest.json", "partial_parse.msgpack"
_COLUMN_SCHEMA = "dagster/column_schema"
#: dbt is told which process started it, so that one whose process is gone can be told from one that is waited for.
STARTED_BY = "OFFERLINE_DBT_STARTED_BY"


class DbtProjectBroken(PermanentFailure):
    """dbt cannot read the project; the message holds what it says."""


@dataclass(frozen=True, slots=True)
class DbtProject:
    """A dbt project, and where it is kept what dbt found out about it.

    Attributes:
        folder: Folder of `dbt_project.yml` and `profiles.yml`.
        artifacts: Folder for what dbt parsed, and for the logs of failed builds; made when needed.
    """

    folder: Path
    artifacts: Path

    def manifest(self, database: str = DATABASE) -> Mapping[str, Any]:
        """The project's manifest, for a database of that name.

        It is parsed once (a few seconds; nothing is contacted) and kept by a digest of the project, so that the
        next process reads it at once and a changed project is never mistaken for it.

        Raises:
            DbtProjectBroken: dbt cannot parse the project.
        """
        manifest: Mapping[str, Any] = json.loads((self.parsed(database) / _MANIFEST).read_bytes())
        return manifest

    def parsed(self, database: str) -> Path:
        """The folder with what dbt found out about this version of the project, parsed now if it never was."""
        folder = self.artifacts / "parsed" / self._digest(database)
        if not (folder / _MANIFEST).exists():
            self._parse_into(folder, database)
        return folder

    def lend(self, database: str, target: Path) -> None:
        """Spare a build in the folder `target` from parsing what was parsed before."""
        shutil.copy(self.parsed(database) / _PARTIAL_PARSE, target)

    def take_back(self, database: str, target: Path) -> None:
        """Keep what a build parsed: dbt parses again where only the connection differs, but once is enough."""
        (target / _PARTIAL_PARSE).replace(self.parsed(database) / _PARTIAL_PARSE)

    def _digest(self, database: str) -> str:
        """Hash of everything a manifest follows from."""
        digest = hashlib.sha256(f"{version('dbt-core')} {version('dbt-postgres')} {database}".encode())
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder)
            if path.is_file() and inside.parts[0] not in _WRITTEN_BY_DBT and not inside.name.startswith("."):
                digest.update(f"\0{inside.as_posix()}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:24]

    def _parse_into(self, folder: Path, database: str) -> None:
        """Parse the project; other processes may do the same at the same moment, with the same outcome."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as target:
            options = [f"--{name}={self.folder.resolve()}" for name in ("project-dir", "profiles-dir")]
            options += [f"--{name}={Path(target).resolve()}" for name in ("target-path", "log-path")]
            # dbt also looks at the working directory: what lies there is none of its business.
            done = subprocess.run(
                [_executable(), "--no-use-colors", "parse", "--quiet", *options],
                env=os.environ | {"OFFERLINE_DBT_DBNAME": database},
                cwd=target,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise DbtProjectBroken(f"dbt cannot parse {self.folder}:\n{(done.stdout + done.stderr)[-4000:]}")
            # The manifest last: where it is, everything is.
            for name in (_PARTIAL_PARSE, _MANIFEST):
                (Path(target) / name).replace(folder / name)


class DbtProjectRunner:
    """Builds a dbt project in a PostgreSQL.

    Args:
        project: The project.
        database_url: The warehouse, as SQLAlchemy writes it.
    """

    def __init__(self, project: DbtProject, database_url: str) -> None:
        self._project = project
        self._url: URL = make_url(database_url)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({str(self._project.folder)!r}, {self._url.render_as_string(hide_password=True)!r})"
        )

    def build(
        self,
        context: dg.AssetExecutionContext,
        *,
        nodes: Sequence[str] | None,
        asset_key: Callable[[Mapping[str, Any]], dg.AssetKey],
    ) -> Iterator[DbtEvent]:
        """Run `dbt build`, telling Dagster of each model (rows, column lineage) and each test as it is done.

        Raises:
            DagsterDbtCliRuntimeError: a model could not be built, or a test of severity `error` failed.
        """
        # Tests are named one by one: dbt would add those that also read a model that was not asked for.
        selection = [word for node in nodes or () for word in ("--select", node)]
        if nodes is not None:
            selection += ["--indirect-selection", "empty"]
        database = self._url.database or DATABASE
        folder = self._project.folder.resolve()
        target = self._project.artifacts.resolve() / "builds" / context.run.run_id
        target.mkdir(parents=True, exist_ok=True)
        self._project.lend(database, target)
        _end_orphans(self._connection())
        with _environment(self._connection() | {STARTED_BY: str(os.getpid())}):
            invocation = _command_line(folder).cli(
                ["build", *selection],
                manifest=dict(self._project.manifest(database)),
                dagster_dbt_translator=_translator(asset_key),
                target_path=target,
            )
        # Given to `cli`, the context would have to be of a `@dbt_assets`; the events only need to know the assets.
        events = replace(invocation, context=context).stream().fetch_row_counts().fetch_column_metadata()
        yield from map(_without_bare_schema, events)
        self._project.take_back(database, target)
        # Only a failed build leaves its logs and compiled SQL behind; the error names the folder.
        shutil.rmtree(target)

    def _connection(self) -> dict[str, str]:
        """The variables that `profiles.yml` reads."""
        parts = {
            "HOST": self._url.host,
            "PORT": str(self._url.port or 5432),
            "USER": self._url.username,
            "PASSWORD": self._url.password,
            "DBNAME": self._url.database,
        }
        return {f"OFFERLINE_DBT_{name}": str(value) for name, value in parts.items() if value}


def _executable() -> str:
    """The `dbt` beside the running Python, so that no environment needs to be activated.

    Raises:
        DbtProjectBroken: dbt is not installed.
    """
    found = shutil.which("dbt", path=str(Path(sys.executable).parent)) or shutil.which("dbt")
    if found is None:
        raise DbtProjectBroken(f"the command `dbt` is neither beside {sys.executable} nor on PATH: install dbt-core")
    return found


def _end_orphans(connection: Mapping[str, str]) -> None:
    """End every dbt at this database that outlived the process that started it.

    Nothing ends it with a killed process, and two builds at once drop each other's tables.
    """
    for process in psutil.process_iter():
        try:
            told = process.environ()
            if connection.items() <= told.items() and told.get(STARTED_BY, str(process.ppid())) != str(process.ppid()):
                process.kill()
        except (psutil.Error, OSError):
            continue  # not ours to look into, or gone


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for as long as it takes to start dbt: its profile reads nothing else."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _command_line(folder: Path) -> "DbtCliResource":
    """dbt at the project in a folder."""
    from dagster_dbt import DbtCliResource
    from packaging.version import Version

    class CommandLine(DbtCliResource):
        @cached_property
        def _cli_version(self) -> Version:
            # It would start dbt once more, for three seconds, to learn what is known here.
            return Version(version("dbt-core"))

    return CommandLine(project_dir=str(folder), profiles_dir=str(folder), dbt_executable=_executable())


def _translator(asset_key: Callable[[Mapping[str, Any]], dg.AssetKey]) -> "DagsterDbtTranslator":
    """A translator that names assets as `asset_key` does."""
    from dagster_dbt import DagsterDbtTranslator

    class Translator(DagsterDbtTranslator):
        def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
            return asset_key(dbt_resource_props)

    return Translator()


def _without_bare_schema(event: DbtEvent) -> DbtEvent:
    """Drop the columns that dbt found in the database: the asset's own schema has their descriptions too."""
    if isinstance(event, dg.Output | dg.AssetMaterialization):
        return event.with_metadata({name: value for name, value in event.metadata.items() if name != _COLUMN_SCHEMA})
    return event
