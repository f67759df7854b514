"""What a run changed, proposed as a pull request: branch, dvc.lock and results committed, DVC's part pushed.

The working tree, the index and the current branch stay as they are.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from flows.processes import DVC
from usd.errors import UsdError

LOCK = Path("dvc.lock")
REMOTE = "origin"


@task(name="propose", cache_policy=NO_CACHE)
def propose(results: Sequence[Path], what: str) -> State[None]:
    """Open a pull request with dvc.lock and the results, if they differ from the last commit.

    The branch is named after its content, so that the same results are proposed once.

    Raises:
        UsdError: it is not possible (`check_possible`), or git, DVC or gh fail.
    """
    paths = [str(path) for path in (LOCK, *results)]
    if not checked("git", "status", "--porcelain", "--", *paths):
        return Completed(name="Unchanged", message="Nothing to propose")
    check_possible(results)
    commit = commit_of(paths, f"Results of {what}")
    branch = f"nightly/{checked('git', 'rev-parse', f'{commit}^{{tree}}')[:12]}"
    origin = checked("git", "remote", "get-url", "--push", REMOTE)
    if checked("git", "ls-remote", "--heads", origin, branch):
        return Completed(name="Proposed", message=f"{branch} has been proposed already")
    if subprocess.run([*DVC, "config", "core.remote"], capture_output=True, check=False).stdout:
        checked(*DVC, "push")
    checked("git", "push", "--quiet", origin, f"{commit}:refs/heads/{branch}")
    try:
        url = open_pull_request(branch, commit, what)
    except UsdError:
        with suppress(UsdError):
            checked("git", "push", "--quiet", "--delete", origin, branch)  # it would count as proposed
        raise
    get_run_logger().info("Proposed: %s", url)
    return Completed(name="Proposed", message=url)


def check_possible(results: Sequence[Path]) -> None:
    """What a proposal needs, before hours of work and before anything is pushed.

    Results follow from code and parameters, which must be in the commit that they are proposed on.

    Raises:
        UsdError: gh is not installed, git has no author configured, no branch is checked out or it has commits
            that the remote lacks, or a file beside the results differs from the last commit.
    """
    if not shutil.which("gh"):
        raise UsdError("gh: not found; install GitHub's command line, or run without `propose`")
    branch = checked("git", "branch", "--show-current")
    if not branch:
        raise UsdError("propose: no branch is checked out; `git switch` to the one to propose to")
    if not all(succeeds("git", "var", f"GIT_{role}_IDENT") for role in ("AUTHOR", "COMMITTER")):
        raise UsdError(
            "propose: git has no author configured; `git config user.name NAME` and `git config user.email ADDRESS`"
        )
    others = [f":(exclude){path}" for path in (LOCK, *results)]
    changed = checked("git", "diff", "--name-only", "HEAD", "--", ".", *others).splitlines()
    changed += checked("git", "ls-files", "--others", "--exclude-standard", "--", *inputs(), *others).splitlines()
    if changed:
        raise UsdError(f"propose: {changed[0]} is not committed; commit it, or run without `propose`")
    check_pushed(branch)


def inputs() -> set[str]:
    """The files and folders of this project that shape its results."""
    from usd.diff.dag import read_stages
    from usd.diff.revision import WORKSPACE, find

    read = {each.path for stage in read_stages(find(WORKSPACE, Path())) for each in stage.inputs if not each.outside}
    return {"dvc.yaml", "*.dvc", *read}


def check_pushed(branch: str) -> None:
    """Raise if a pull request onto `branch` would publish more than results.

    Raises:
        UsdError: the remote lacks the branch, or a commit of it.
    """
    origin, ref = checked("git", "remote", "get-url", "--push", REMOTE), f"refs/heads/{branch}"
    tip = checked("git", "ls-remote", "--heads", origin, ref).split()[:1]
    if tip:  # it may be ahead of what is known here
        checked("git", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", origin, ref)
    if not tip or not succeeds("git", "merge-base", "--is-ancestor", "HEAD", *tip):
        raise UsdError(f"propose: {branch} has commits that {REMOTE} lacks; push them, or run without `propose`")


def commit_of(paths: list[str], message: str) -> str:
    """A commit on HEAD with `paths` as they are on disk, made beside the index and the working tree."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        checked("git", "read-tree", "HEAD", environment=environment)
        checked("git", "add", "--all", "--", *(path for path in paths if Path(path).exists()), environment=environment)
        tree = checked("git", "write-tree", environment=environment)
    return checked("git", "commit-tree", tree, "-p", "HEAD", "-m", message)


def open_pull_request(branch: str, commit: str, what: str) -> str:
    """Ask GitHub for a pull request onto the current branch, with the review as its text; its URL.

    Raises:
        UsdError: GitHub refuses.
    """
    from usd.diff.markdown import markdown
    from usd.diff.review import review

    base = checked("git", "branch", "--show-current")
    with tempfile.NamedTemporaryFile("w", suffix=".md") as body:
        body.write(markdown(review("HEAD", commit, Path())))
        body.flush()
        fields = ["-f", f"title=Results of {what}", "-f", f"head={branch}", "-f", f"base={base}"]
        fields += ["-F", f"body=@{body.name}"]
        return checked("gh", "api", "repos/{owner}/{repo}/pulls", "--method", "POST", *fields, "--jq", ".html_url")


def succeeds(*command: str) -> bool:
    """Whether a command says so by its exit status."""
    return not subprocess.run(command, capture_output=True, check=False).returncode


def checked(*command: str, environment: dict[str, str] | None = None) -> str:
    """Standard output of a command.

    Raises:
        UsdError: it is not installed, or it failed; the last line of what it said.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except FileNotFoundError:
        raise UsdError(f"propose: {command[0]}: not found; install it") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        raise UsdError(f"propose: {Path(command[0]).name} {command[1]}: {said[-1]}")
    return done.stdout.strip()
