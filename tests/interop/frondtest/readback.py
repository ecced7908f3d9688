"""A stream read back through the official client, and compared with what was acknowledged."""
import asyncio
import json
from typing import NamedTuple

from .till import digest


class Stored(NamedTuple):
    seq: int
    id: str  # of the order in it
    digest: bytes
    data: bytes


async def request(nc, subject, body=None, timeout=5):
    """A JetStream API request; an error answer raises."""
    answer = await nc.request(subject, json.dumps(body or {}).encode(), timeout=timeout)
    answer = json.loads(answer.data)
    assert "error" not in answer, (subject, answer)
    return answer


async def state(nc, stream):
    return (await request(nc, f"$JS.API.STREAM.INFO.{stream}"))["state"]


def order_id(data):
    return json.loads(data)["id"]


async def read_stream(nc, stream, subject=">", name=order_id, patience=20):
    """Every message, in order, each with the name its payload gives it; the stream is at rest."""
    expected = (await state(nc, stream))["messages"]
    messages, all_here = [], asyncio.Event()

    async def take(message):
        seq = int(message.reply.split(".")[-4])
        messages.append(Stored(seq, name(message.data), digest(message.data), message.data))
        if len(messages) >= expected:
            all_here.set()

    reader = await nc.jetstream().subscribe(
        subject, stream=stream, ordered_consumer=True, cb=take, pending_msgs_limit=-1,
        pending_bytes_limit=-1)
    try:
        seen = -1
        while expected and not all_here.is_set() and len(messages) > seen:
            seen = len(messages)
            try:
                await asyncio.wait_for(all_here.wait(), patience)
            except asyncio.TimeoutError:
                pass
    finally:
        await reader.unsubscribe()
    assert len(messages) == expected, f"{stream}: read {len(messages)} of {expected}"
    return messages


def check_stream(acks, messages, same_seq=True):
    """All that was acknowledged is there, with its body (and under its number), and nothing twice."""
    stored = {}
    for message in messages:
        assert message.id not in stored, f"{message.id} twice: {stored[message.id]} and {message}"
        stored[message.id] = message
    lost = [ack for ack in acks if ack.id not in stored]
    assert not lost, f"{len(lost)} acknowledged and lost, the first: {lost[:3]}"
    for ack in acks:
        message = stored[ack.id]
        assert message.digest == ack.digest, f"{ack.id} has another body"
        assert not same_seq or message.seq == ack.seq, f"{ack.id}: {message.seq}, acked {ack.seq}"
    strange = set(stored) - {ack.id for ack in acks}
    assert not strange, f"{len(strange)} never acknowledged: {sorted(strange)[:3]}"


def check_order(messages, acks):
    """The messages come in the order of the acks' numbers."""
    number = {ack.id: ack.seq for ack in acks}
    seqs = [number[message.id] for message in messages]
    for one, two in zip(seqs, seqs[1:]):
        assert one < two, f"{two} comes behind {one}"
