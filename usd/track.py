"""Weights & Biases: the only file that imports it. Offline without a key, and never the only store of a metric."""

import os
import secrets
import sys
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import ValidationError
from requests.utils import get_netrc_auth

from usd.errors import UsdError

FOLDERS = {  # where W&B stages artifacts, caches and keeps its settings, in a run's directory instead of the home
    "WANDB_DATA_DIR": "wandb/data",
    "WANDB_CACHE_DIR": "wandb/cache",
    "WANDB_CONFIG_DIR": "wandb/config",
    "WANDB_ARTIFACT_DIR": "wandb/artifacts",
}


class Tracker:
    """One W&B run; a training that was killed goes on in the same run, which a file in `directory` names.

    It opens with the first value logged: data workers are forked before that, and W&B forbids forks after it. Without
    `resume` it is a new run, as W&B drops steps that are not after its last one. All that W&B writes is below
    `directory`, unless its own environment variables say otherwise, so a home that cannot be written does no harm.
    """

    def __init__(self, name: str, config: dict[str, Any], directory: Path, group: str, resume: bool = True) -> None:
        self.name, self.config, self.directory, self.group, self.resume = name, config, directory, group, resume
        self.named = directory / "wandb-run"  # its id and group
        self.previews: list[tuple[int, dict[str, float], Path]] = []  # step, scores, picture

    @cached_property
    def run(self) -> Any:
        """The open run; offline where W&B cannot be reached, or does not take the key.

        Raises:
            UsdError: W&B does not take its own environment variables.
        """
        import wandb
        from wandb.errors import CommError, UsageError

        os.environ.setdefault("WANDB_SILENT", "true")
        self.directory.mkdir(parents=True, exist_ok=True)
        for variable, folder in FOLDERS.items():
            os.environ.setdefault(variable, str((self.directory / folder).absolute()))
        if not (self.resume and self.named.exists()):
            self.named.write_text(f"{secrets.token_hex(4)} {self.group}")
        run_id, group = self.named.read_text().split()
        opened = partial(
            wandb.init,
            project=os.environ.get("WANDB_PROJECT", "us-diffusion"),
            name=self.name,
            group=group,
            id=run_id,
            resume="allow",
            config=self.config,
            dir=self.directory,
        )
        try:
            try:
                return opened(mode=mode())
            except (CommError, UsageError) as error:
                wandb.teardown()  # it holds the run's id
                run = opened(mode="offline")
                print(f"W&B: {error}; this run is kept offline, and `wandb sync` uploads it", file=sys.stderr)
                return run
        except (UsageError, ValidationError) as error:
            raise UsdError(f"W&B: {complaint(error)}; correct its environment variables, or unset them") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """An error ends the run as failed and raises an alert, which W&B mails; a training resumes in the same run."""
        if not isinstance(error, Exception) or "run" not in vars(self):
            return
        self.run.alert(title=f"{self.name} failed", text=f"{type(error).__name__}: {error}", level="ERROR")
        vars(self).pop("run").finish(exit_code=1)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Numbers of one step."""
        self.run.log(values, step=step)

    def log_preview(self, step: int, scores: dict[str, float], path: Path) -> None:
        """A picture file of validation items and their scores; `finish` puts all of them into one table."""
        import wandb

        self.previews.append((step, scores, path))
        self.run.log(scores | {"preview": wandb.Image(str(path))}, step=step)

    def log_model(self, folder: Path, facts: dict[str, str]) -> None:
        """A trained model's files, with what it was made of and the hash that DVC knows it by.

        The lineage leads to it from an artifact that names the data; `facts["data"]` is their digest. W&B has no
        lineage offline: there the digest is in the model's metadata only.

        Where W&B cannot store it, DVC does all the same.
        """
        try:
            self._store(folder, facts)
        except OSError as error:
            print(f"W&B: the model is not stored there: {error.strerror or error}", file=sys.stderr)

    def _store(self, folder: Path, facts: dict[str, str]) -> None:
        import wandb

        if not self.run.offline:
            data = wandb.Artifact("shards", "dataset", description="The files are in DVC; this names them.")
            with data.new_file("digest.txt") as file:
                file.write(facts["data"])
            self.run.use_artifact(data)
        artifact = wandb.Artifact(f"{self.name}-model", "model", metadata=facts | {"dvc": dvc_hash(folder)})
        artifact.add_dir(str(folder))
        self.run.log_artifact(artifact)

    def finish(self) -> None:
        """Close the run, and the service that child processes would share."""
        import wandb

        if self.previews:
            names = sorted({name for _, scores, _ in self.previews for name in scores})
            table = wandb.Table(columns=["step", "validation items", *names])
            for step, scores, path in self.previews:
                table.add_data(step, wandb.Image(str(path)), *(scores.get(name) for name in names))
            self.run.log({"previews": table})
        self.run.finish()
        wandb.teardown()
        self.named.unlink()


def complaint(error: Exception) -> str:
    """What W&B has against a setting, in one line with its name."""
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        return ": ".join(map(str, (*found["loc"], found["msg"])))
    return str(error).splitlines()[0]


def mode() -> Literal["offline"] | None:
    """`offline`, unless W&B was told otherwise or has a key (also by `wandb login`); then it decides itself."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE"):
        return None
    return None if get_netrc_auth(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")) else "offline"


def dvc_hash(folder: Path) -> str:
    """The hash that dvc.lock will hold for a folder."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    files = LocalFileSystem()
    return str(build(HashFileDB(files, "unused"), str(folder), files, "md5", dry_run=True)[2].hash_info.value)
