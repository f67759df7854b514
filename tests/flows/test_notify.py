"""A chat is told of failed runs, by the real server."""

import json
from pathlib import Path

import pytest

from tests.flows.project import api, change_rate, run, send_everything
from tests.serving import wait_for

pytestmark = pytest.mark.slow


def test_a_chat_is_told_of_a_run_that_fails(inside: Path, chat: tuple[str, list[str]]) -> None:
    from flows.notify import NAME, notify_failures
    from flows.pipeline import train

    url, posted = chat
    Path(".usd/fail-train@a").touch()
    change_rate()
    assert run(train, variant="a").is_failed()
    send_everything()
    text = wait_for(lambda: [each for each in posted if "train@a is not sound" in each])[0]
    assert json.loads(text)["text"].startswith("train/")
    notify_failures(url)  # again: the automation is replaced
    with api() as client:
        assert len(client.read_automations_by_name(NAME)) == 1
        notify_failures("")
        assert client.read_automations_by_name(NAME) == []
