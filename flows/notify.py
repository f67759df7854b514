"""A message to a chat for every run that fails, by an automation of the Prefect server."""

from datetime import timedelta
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.types import SecretDict
from pydantic import SecretStr

NAME = "failed-runs"
EVENTS = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
WORDS = '"%s/%s %s: %s" | format(flow.name, flow_run.name, flow_run.state.name, flow_run.state.message)'
PAYLOAD = f'{{"text": {{{{ ({WORDS}) | tojson }}}}}}'


def notify_failures(url: str) -> None:
    """Have the server post `{"text": …}`, which Slack, Mattermost and Teams show, to `url` when a run fails.

    Called again with another URL, it replaces the last; with an empty one, nobody is told any more.
    """
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(NAME)
        if not url:
            for automation in known:
                client.delete_automation(automation.id)
        elif known:
            client.update_automation(known[0].id, _message_to(url))
        else:
            client.create_automation(_message_to(url))


def _message_to(url: str) -> AutomationCore:
    block = Webhook(method="POST", url=SecretStr(url), headers=SecretDict({"Content-Type": "application/json"}))
    trigger = EventTrigger(
        expect=EVENTS,
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    action = CallWebhook(block_document_id=UUID(str(block.save(NAME, overwrite=True))), payload=PAYLOAD)
    return AutomationCore(name=NAME, description="Tell a chat of failed runs", trigger=trigger, actions=[action])
