"""One command's way into the platform: settings, services, resources, Dagster's instance.

Belongs here: starting what is needed and making it once. Not here: what a command does with it.
"""

import os
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from orchestration.build import Parts, build_definitions
from orchestration.settings import Endpoints, Settings, dagster_environment, load_settings
from orchestration.stack import Progress, Stack

#: What libraries are told: models are local files, and spinning threads would starve a small machine.
LIBRARIES = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "GX_ANALYTICS_ENABLED": "false"}


@dataclass(frozen=True)
class Platform:
    """The platform of one process, with its services running."""

    settings: Settings
    where: Endpoints

    @classmethod
    def enter(cls, progress: Progress | None = None) -> "Platform":
        """Start the services that are not running, bring the tables up to date, and return the way in.

        The environment of this process becomes that of every process that loads the definitions, because Dagster,
        MLflow and dbt read theirs from it.
        """
        settings = load_settings()
        where = Stack(settings).start("services", progress)
        os.environ.update(dagster_environment(where))
        os.environ.update(LIBRARIES)
        platform = cls(settings, where)
        platform.parts.warehouse.migrate()
        return platform

    @cached_property
    def parts(self) -> Parts:
        """The resources."""
        return Parts(self.settings)

    @cached_property
    def definitions(self) -> dg.Definitions:
        """The code location."""
        return build_definitions(self.settings)

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """Dagster's instance, shared with the web server and the daemon."""
        return dg.DagsterInstance.get()
