"""Where everything is: the settings a person may give, and the endpoints that follow from them.

Belongs here: the only reading of the environment, the saved state of the embedded stack, and the one value
(`Endpoints`) that every part is built from. Not here: starting servers (stack.py), building resources (build.py).
"""

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

WAREHOUSE_DRIVER = "postgresql+psycopg"
TOOL_DRIVER = "postgresql+psycopg2"
"""Dagster's event notification fails with psycopg 3, and a bare `postgresql://` means psycopg 3 to SQLAlchemy."""


class UserError(RuntimeError):
    """An error whose message is meant for a person: shown in one line, never with a traceback."""


class SettingsError(UserError):
    """A setting is wrong; the message names the variable and what is expected."""


class StackNotStarted(UserError):
    """The embedded stack was never started in this home; the message says which command starts it."""


def _postgres_url(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    try:
        backend = make_url(value.get_secret_value()).get_backend_name()
    except ArgumentError as error:
        raise ValueError("expected postgresql://user:password@host:port/database") from error
    if backend != "postgresql":
        raise ValueError(f"expected a postgresql:// URL, got {backend}://")
    return value


def _http_url(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise ValueError("expected an http:// or https:// URL")
    return value.rstrip("/") if value else None


PostgresUrl = Annotated[SecretStr | None, AfterValidator(_postgres_url)]
HttpUrl = Annotated[str | None, AfterValidator(_http_url)]


class Settings(BaseModel):
    """What a person may configure. A URL given here replaces the embedded service, which is then not started.

    Build it directly in tests; `load_settings` reads it from the environment (see `EnvironmentSettings`).
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid")

    home: Path = Path(".offerline")
    database_url: PostgresUrl = None
    dagster_database_url: PostgresUrl = None
    mlflow_tracking_uri: SecretStr | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    mlflow_artifact_root: str | None = None
    s3_endpoint: HttpUrl = None
    s3_public_endpoint: HttpUrl = None
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    s3_region: str = "us-east-1"
    landing_bucket: str = "landing"
    artifacts_bucket: str = "artifacts"
    qdrant_url: HttpUrl = None
    qdrant_api_key: SecretStr | None = None
    dagster_url: HttpUrl = None
    mlflow_url: HttpUrl = None
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: HttpUrl = Field(default=None, validation_alias="OPENAI_BASE_URL")
    openai_model: str = "gpt-5-mini"
    judge_questions: NonNegativeInt = 0
    precision_first: bool = False
    colours_apart: bool = False
    most_delisted: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _keys_belong_to_their_endpoint(self) -> Self:
        if self.s3_endpoint and not (self.s3_access_key and self.s3_secret_key):
            raise ValueError(
                "OFFERLINE_S3_ENDPOINT needs OFFERLINE_S3_ACCESS_KEY and OFFERLINE_S3_SECRET_KEY beside it"
            )
        return self

    @model_validator(mode="after")
    def _a_judge_is_a_language_model(self) -> Self:
        if self.judge_questions and not (self.openai_api_key or self.openai_base_url):
            raise ValueError("OFFERLINE_JUDGE_QUESTIONS needs OPENAI_API_KEY or OPENAI_BASE_URL beside it")
        return self

    @property
    def embeds_database(self) -> bool:
        """Whether the stack starts its own PostgreSQL."""
        return self.database_url is None

    @property
    def embeds_object_store(self) -> bool:
        """Whether the stack starts its own S3 server."""
        return self.s3_endpoint is None

    @property
    def embeds_tracking_server(self) -> bool:
        """Whether `offerline up` starts MLflow's web page (an http tracking URI already has one)."""
        uri = self.mlflow_tracking_uri
        return uri is None or not uri.get_secret_value().startswith(("http://", "https://"))

    @property
    def state_path(self) -> Path:
        """The file that remembers the embedded stack's ports and passwords."""
        return self.home / "stack.json"


class EnvironmentSettings(Settings, BaseSettings):
    """`Settings` read from OFFERLINE_* and from the unprefixed names of MLflow and OpenAI."""

    model_config = SettingsConfigDict(
        env_prefix="OFFERLINE_", env_ignore_empty=True, frozen=True, populate_by_name=True, extra="ignore"
    )


def variable_names() -> frozenset[str]:
    """The environment variables that are settings."""
    fields = EnvironmentSettings.model_fields.items()
    return frozenset(str(field.validation_alias or f"OFFERLINE_{name.upper()}") for name, field in fields)


class StackState(BaseModel):
    """What the embedded stack chose at its first start: ports by name, and secrets (never defaults)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ports: dict[str, int]
    database_password: SecretStr
    s3_access_key: SecretStr
    s3_secret_key: SecretStr

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The saved state, or None when the stack was never started.

        Raises:
            SettingsError: the file exists and cannot be understood.
        """
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise SettingsError(
                f"{path} is damaged: {error.errors()[0]['msg']}; move the folder {path.parent} away to start afresh"
            ) from error

    def write(self, path: Path) -> None:
        """Save atomically, readable by its owner only."""
        plain = {
            "ports": self.ports,
            "database_password": self.database_password.get_secret_value(),
            "s3_access_key": self.s3_access_key.get_secret_value(),
            "s3_secret_key": self.s3_secret_key.get_secret_value(),
        }
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".stack-")  # mkstemp gives mode 0600
        with os.fdopen(descriptor, "w") as file:
            json.dump(plain, file, indent=2)
        Path(temporary).replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where every service is and how to enter it. Secrets do not show in its repr.

    Attributes:
        database_url: The warehouse, for SQLAlchemy with psycopg 3.
        dagster_database_url: Dagster's own storage, for SQLAlchemy with psycopg2.
        mlflow_tracking_uri: What MLflow's client is pointed at: a database URL (psycopg2) or an http(s) URL.
        mlflow_artifact_root: Where runs logged straight to the database keep their artifacts.
        s3_endpoint: The object store, with scheme.
        s3_public_endpoint: The same as a person's browser reaches it; links to reports are signed for it.
        qdrant_url: A Qdrant server, or None for the engine in process, which keeps its data in `qdrant_path`.
        dagster_url: Dagster's page for a person.
        mlflow_url: MLflow's page for a person.
        home: The folder of everything Offerline keeps on this machine.
    """

    home: Path
    database_url: str = field(repr=False)
    dagster_database_url: str = field(repr=False)
    mlflow_tracking_uri: str = field(repr=False)
    mlflow_artifact_root: str
    s3_endpoint: str
    s3_public_endpoint: str
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    s3_region: str = "us-east-1"
    landing_bucket: str = "landing"
    artifacts_bucket: str = "artifacts"
    qdrant_url: str | None = None
    qdrant_api_key: str | None = field(default=None, repr=False)
    qdrant_path: Path
    dagster_url: str
    mlflow_url: str
    openai_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    openai_model: str
    judge_questions: int = 0
    precision_first: bool = False
    colours_apart: bool = False
    most_delisted: float = 0.5


def load_settings() -> Settings:
    """Read the environment once.

    Raises:
        SettingsError: a variable has a value that cannot be used; one line per variable.
    """
    try:
        settings = EnvironmentSettings()
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})


def endpoints(settings: Settings) -> Endpoints:
    """Where the services are, from the settings and the embedded stack's saved state.

    The stack need not be running, but it must have been started once.

    Raises:
        StackNotStarted: an embedded service is needed and was never started in this home.
    """
    state = StackState.read(settings.state_path)
    if state is None and (settings.embeds_database or settings.embeds_object_store):
        raise StackNotStarted(f"nothing was started in {settings.home} yet: start it with `offerline up`")
    return resolve(settings, state)


def resolve(settings: Settings, state: StackState | None) -> Endpoints:
    """`endpoints`, with the state already read (None: every service is external)."""
    ports = state.ports if state else {}

    def local(name: str) -> str:
        return f"http://127.0.0.1:{ports[name]}" if name in ports else ""

    if settings.database_url is not None:
        server = settings.database_url.get_secret_value()
        warehouse = _database(server, WAREHOUSE_DRIVER)
    else:
        assert state is not None  # noqa: S101 (endpoints() has refused this already)
        password = state.database_password.get_secret_value()
        server = f"postgresql://offerline:{password}@127.0.0.1:{ports['postgres']}/offerline"
        warehouse = _database(server, WAREHOUSE_DRIVER)

    dagster_database = _secret(settings.dagster_database_url) or _database(server, TOOL_DRIVER, "dagster")
    tracking = _secret(settings.mlflow_tracking_uri) or _database(server, TOOL_DRIVER, "mlflow")
    if tracking.startswith("postgres"):
        tracking = _database(tracking, TOOL_DRIVER)
    if settings.s3_endpoint is not None:
        access, secret = _secret(settings.s3_access_key), _secret(settings.s3_secret_key)
    else:
        assert state is not None  # noqa: S101
        access, secret = state.s3_access_key.get_secret_value(), state.s3_secret_key.get_secret_value()
    return Endpoints(
        home=settings.home,
        database_url=warehouse,
        dagster_database_url=_database(dagster_database, TOOL_DRIVER),
        mlflow_tracking_uri=tracking,
        mlflow_artifact_root=settings.mlflow_artifact_root or f"s3://{settings.artifacts_bucket}/mlflow",
        s3_endpoint=settings.s3_endpoint or local("s3"),
        s3_public_endpoint=settings.s3_public_endpoint or settings.s3_endpoint or local("s3"),
        s3_access_key=access or "",
        s3_secret_key=secret or "",
        s3_region=settings.s3_region,
        landing_bucket=settings.landing_bucket,
        artifacts_bucket=settings.artifacts_bucket,
        qdrant_url=settings.qdrant_url,
        qdrant_api_key=_secret(settings.qdrant_api_key),
        qdrant_path=settings.home / "qdrant",
        dagster_url=settings.dagster_url or local("webserver"),
        mlflow_url=settings.mlflow_url or (local("mlflow") if settings.embeds_tracking_server else tracking),
        openai_api_key=_secret(settings.openai_api_key),
        openai_base_url=settings.openai_base_url,
        openai_model=settings.openai_model,
        judge_questions=settings.judge_questions,
        precision_first=settings.precision_first,
        colours_apart=settings.colours_apart,
        most_delisted=settings.most_delisted,
    )


def dagster_environment(endpoints: Endpoints) -> dict[str, str]:
    """The environment of every process that loads the definitions or Dagster's instance.

    Every endpoint is given explicitly, as docker-compose does for its containers, so that a child process finds
    the services without the state file. `OFFERLINE_*` names are those of `Settings`.
    """
    environment = {
        "DAGSTER_HOME": str(endpoints.home / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "OFFERLINE_COMPUTE_LOG_DIR": str(endpoints.home / "dagster" / "compute_logs"),
        "OFFERLINE_HOME": str(endpoints.home),
        "OFFERLINE_DATABASE_URL": endpoints.database_url,
        "OFFERLINE_DAGSTER_DATABASE_URL": endpoints.dagster_database_url,
        "OFFERLINE_S3_ENDPOINT": endpoints.s3_endpoint,
        "OFFERLINE_S3_PUBLIC_ENDPOINT": endpoints.s3_public_endpoint,
        "OFFERLINE_S3_ACCESS_KEY": endpoints.s3_access_key,
        "OFFERLINE_S3_SECRET_KEY": endpoints.s3_secret_key,
        "OFFERLINE_S3_REGION": endpoints.s3_region,
        "OFFERLINE_LANDING_BUCKET": endpoints.landing_bucket,
        "OFFERLINE_ARTIFACTS_BUCKET": endpoints.artifacts_bucket,
        "OFFERLINE_QDRANT_URL": endpoints.qdrant_url or "",
        "OFFERLINE_QDRANT_API_KEY": endpoints.qdrant_api_key or "",
        "OFFERLINE_DAGSTER_URL": endpoints.dagster_url,
        "OFFERLINE_MLFLOW_URL": endpoints.mlflow_url,
        "OFFERLINE_MLFLOW_ARTIFACT_ROOT": endpoints.mlflow_artifact_root,
        "OFFERLINE_OPENAI_MODEL": endpoints.openai_model,
        "OFFERLINE_JUDGE_QUESTIONS": str(endpoints.judge_questions),
        "OFFERLINE_PRECISION_FIRST": str(endpoints.precision_first).lower(),
        "OFFERLINE_COLOURS_APART": str(endpoints.colours_apart).lower(),
        "OFFERLINE_MOST_DELISTED": str(endpoints.most_delisted),
        "MLFLOW_TRACKING_URI": endpoints.mlflow_tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OPENAI_API_KEY": endpoints.openai_api_key or "",
        "OPENAI_BASE_URL": endpoints.openai_base_url or "",
    } | object_store_environment(endpoints)
    return {name: value for name, value in environment.items() if value}


def object_store_environment(endpoints: Endpoints) -> dict[str, str]:
    """What boto3 (Dagster's compute logs, MLflow's artifacts) needs to reach the object store."""
    return {
        "AWS_ACCESS_KEY_ID": endpoints.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": endpoints.s3_secret_key,
        "AWS_DEFAULT_REGION": endpoints.s3_region,
        "MLFLOW_S3_ENDPOINT_URL": endpoints.s3_endpoint,
    }


def _database(url: str, driver: str, name: str | None = None) -> str:
    parsed = make_url(url).set(drivername=driver)
    if name is not None:
        parsed = parsed.set(database=name)
    return parsed.render_as_string(hide_password=False)


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        field_name = str(problem["loc"][0]) if problem["loc"] else ""
        variable = field_name if field_name.isupper() else f"OFFERLINE_{field_name.upper()}"
        lines.append(f"{variable}: {message}" if field_name else message)
    return "; ".join(lines)
