"""A streamed chat completion over a Unix socket, with the time of every event.

Both servers listen on a Unix socket, so the transport is the same for both. One
connection per request; every read has a deadline.
"""

import dataclasses
import http.client
import json
import socket
import time

TIMEOUT_S = 120.0  # for a single read: the longest wait is a first token behind seven others


class Refused(Exception):
    """The server answered, but not with 200."""

    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body[:200]}")
        self.status = status


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@dataclasses.dataclass
class Answer:
    sent: float            # monotonic seconds: request written
    first: float | None    # first piece of text
    last: float | None     # last piece of text
    done: float            # end of the stream
    prompt_tokens: int
    cached_tokens: int     # of the prompt, taken from the server's prefix cache
    tokens: int
    finish: str
    text: str

    @property
    def ttft_ms(self):
        return (self.first - self.sent) * 1e3

    @property
    def tokens_per_s(self):
        """Decode rate: the first token belongs to the prefill."""
        return (self.tokens - 1) / (self.last - self.first)


def status(path, target):
    """Status code of a GET, or None while nobody listens."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", target)
        return connection.getresponse().status
    except (ConnectionError, FileNotFoundError, http.client.BadStatusLine):
        return None
    finally:
        connection.close()


def chat(path, messages, max_tokens, **extra):
    body = {
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **extra,
    }
    connection = UnixConnection(path)
    try:
        sent = time.monotonic()
        connection.request("POST", "/v1/chat/completions", json.dumps(body),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise Refused(response.status, response.read().decode(errors="replace"))
        return _read(response, sent)
    finally:
        connection.close()


def _read(response, sent):
    first = last = None
    text, pieces, finish, usage = [], 0, "", {}
    for line in response:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            break
        event = json.loads(data)
        if "error" in event:
            raise Refused(200, json.dumps(event["error"]))
        usage = event.get("usage") or usage
        for choice in event.get("choices", []):
            finish = choice.get("finish_reason") or finish
            if piece := choice.get("delta", {}).get("content"):
                last = time.monotonic()
                first = first or last
                pieces += 1
                text.append(piece)
    details = usage.get("prompt_tokens_details") or {}
    return Answer(
        sent, first, last, time.monotonic(),
        usage.get("prompt_tokens", 0), details.get("cached_tokens", 0),
        # A server may join tokens in one event: its own count is the better one.
        usage.get("completion_tokens", pieces), finish, "".join(text),
    )
