"""Settings and the endpoints that follow from them, without any server."""

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestration.build import Parts
from orchestration.settings import (
    Settings,
    SettingsError,
    StackNotStarted,
    StackState,
    dagster_environment,
    endpoints,
    load_settings,
    variable_names,
)

STATE = StackState(
    ports={"postgres": 11001, "s3": 11002, "webserver": 11003, "mlflow": 11004},
    database_password=SecretStr("database-secret"),
    s3_access_key=SecretStr("access-secret"),
    s3_secret_key=SecretStr("key-secret"),
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variable_names():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    STATE.write(tmp_path / "stack.json")
    return tmp_path


def test_without_configuration_everything_is_embedded_below_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.home == tmp_path / ".offerline"
    assert (settings.embeds_database, settings.embeds_object_store, settings.embeds_tracking_server) == (True,) * 3


def test_a_stack_that_was_never_started_says_which_command_starts_it(tmp_path: Path) -> None:
    with pytest.raises(StackNotStarted, match="offerline up"):
        endpoints(Settings(home=tmp_path))


def test_endpoints_name_the_driver_that_each_tool_needs(home: Path) -> None:
    where = endpoints(Settings(home=home))
    assert where.database_url == "postgresql+psycopg://offerline:database-secret@127.0.0.1:11001/offerline"
    assert where.dagster_database_url == "postgresql+psycopg2://offerline:database-secret@127.0.0.1:11001/dagster"
    assert where.mlflow_tracking_uri == "postgresql+psycopg2://offerline:database-secret@127.0.0.1:11001/mlflow"
    assert where.s3_endpoint == "http://127.0.0.1:11002"
    assert (where.dagster_url, where.mlflow_url) == ("http://127.0.0.1:11003", "http://127.0.0.1:11004")


def test_nothing_confidential_shows_in_a_repr(home: Path) -> None:
    settings = Settings(home=home, openai_api_key=SecretStr("sk-secret"), qdrant_api_key=SecretStr("q-secret"))
    assert "-secret" not in repr(endpoints(settings))
    assert "-secret" not in repr(settings)


def test_the_state_file_is_for_its_owner_only(home: Path) -> None:
    assert stat.S_IMODE((home / "stack.json").stat().st_mode) == 0o600
    assert StackState.read(home / "stack.json") == STATE


def test_a_damaged_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"ports": ')
    with pytest.raises(SettingsError, match=r"stack\.json is damaged"):
        endpoints(Settings(home=tmp_path))


def test_configured_services_need_no_stack_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFERLINE_HOME", str(tmp_path))
    monkeypatch.setenv("OFFERLINE_DATABASE_URL", "postgresql://me:p%40ss@db.example:5433/shop")
    monkeypatch.setenv("OFFERLINE_S3_ENDPOINT", "https://s3.example/")
    monkeypatch.setenv("OFFERLINE_S3_ACCESS_KEY", "a")
    monkeypatch.setenv("OFFERLINE_S3_SECRET_KEY", "b")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    monkeypatch.setenv("OPENAI_BASE_URL", "")  # as compose passes an unset variable
    settings = load_settings()
    assert (settings.embeds_database, settings.embeds_object_store, settings.embeds_tracking_server) == (False,) * 3
    where = endpoints(settings)
    assert where.database_url == "postgresql+psycopg://me:p%40ss@db.example:5433/shop"
    assert where.dagster_database_url == "postgresql+psycopg2://me:p%40ss@db.example:5433/dagster"
    assert where.s3_endpoint == "https://s3.example"
    assert where.mlflow_tracking_uri == where.mlflow_url == "http://mlflow.example:5000"
    assert where.openai_base_url is None


def test_a_child_process_finds_the_same_endpoints_by_its_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = endpoints(
        Settings(
            home=home,
            openai_api_key=SecretStr("k"),
            judge_questions=7,
            precision_first=True,
            most_delisted=0.25,
            qdrant_url="http://q.example",
        )
    )
    for name, value in dagster_environment(where).items():
        monkeypatch.setenv(name, value)
    (home / "stack.json").unlink()
    assert endpoints(load_settings()) == where


def test_a_judge_is_off_unless_a_budget_and_a_language_model_are_given(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Parts(Settings(home=home, openai_api_key=SecretStr("k"))).judge is None
    monkeypatch.setenv("OFFERLINE_JUDGE_QUESTIONS", "100")
    with pytest.raises(SettingsError, match="OFFERLINE_JUDGE_QUESTIONS needs OPENAI_API_KEY or OPENAI_BASE_URL"):
        load_settings()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    parts = Parts(load_settings().model_copy(update={"home": home}))
    assert parts.match_rules.judging.questions == 100
    assert parts.judge is not None
    assert parts.judge.name.startswith("gpt-5-mini (prompt ")


def test_the_matcher_is_as_careful_as_the_settings_say(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Parts(Settings(home=home)).match_rules
    assert not plain.resolution.precision_first
    assert not plain.vetoes.colours
    monkeypatch.setenv("OFFERLINE_PRECISION_FIRST", "true")
    monkeypatch.setenv("OFFERLINE_COLOURS_APART", "true")
    careful = Parts(load_settings().model_copy(update={"home": home})).match_rules
    assert careful.resolution.needed > plain.resolution.needed
    assert careful.vetoes.colours


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OFFERLINE_JUDGE_QUESTIONS", "-1", "OFFERLINE_JUDGE_QUESTIONS: Input should be greater than or equal to 0"),
        ("OFFERLINE_DATABASE_URL", "mysql://a:hidden@b/c", "OFFERLINE_DATABASE_URL: expected a postgresql:// URL"),
        ("OFFERLINE_DATABASE_URL", "hidden", "OFFERLINE_DATABASE_URL: expected postgresql://user:password@host"),
        ("OFFERLINE_S3_ENDPOINT", "localhost:9000", "OFFERLINE_S3_ENDPOINT: expected an http:// or https:// URL"),
        ("OFFERLINE_S3_ENDPOINT", "http://minio:9000", "needs OFFERLINE_S3_ACCESS_KEY and OFFERLINE_S3_SECRET_KEY"),
        ("OPENAI_BASE_URL", "openai", "OPENAI_BASE_URL: expected an http:// or https:// URL"),
    ],
)
def test_a_wrong_setting_is_named_and_never_shown(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert expected in str(caught.value)
    assert "hidden" not in str(caught.value)
