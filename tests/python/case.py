"""What the tests of all clients have in common: the official client over the Unix socket, and a
daemon to be watched.

    OUTPOST_SOCKET=/run/outpost/outpost.sock
"""

import os
import time
import unittest

import httpx
import openai

SOCKET = os.environ["OUTPOST_SOCKET"]
BASE_URL = "http://outpost/v1"
DEADLINE_S = 60


def say(text):
    return [{"role": "user", "content": text}]


class Case(unittest.TestCase):
    """One client for each test, closed at its end."""

    def setUp(self):
        transport = httpx.HTTPTransport(uds=SOCKET)
        self.http = httpx.Client(transport=transport, timeout=DEADLINE_S)
        self.client = openai.OpenAI(
            base_url=BASE_URL, api_key="unused", http_client=self.http, max_retries=0
        )
        self.addCleanup(self.client.close)

    def status(self):
        return self.http.get(f"{BASE_URL}/status").json()

    def wait_until_idle(self):
        deadline = time.monotonic() + DEADLINE_S
        while (status := self.status())["in_flight"] or status["engine"]["running"]:
            self.assertLess(time.monotonic(), deadline, status)
        return status
