"""LiteLLM against Outpost, over its Unix socket: an application that knows Outpost only
as an OpenAI-compatible provider with an address.

    OUTPOST_SOCKET=/run/outpost/outpost.sock python -m unittest test_litellm

With OUTPOST_URL=http://127.0.0.1:PORT and OUTPOST_TOKEN as well, also over TCP. With
OUTPOST_MODELS, an object such as {"site": "hq", "cloud": "org/small"}, also against those.
No test holds for one model only: answers are compared with each other.
"""

import json
import os
import unittest
import uuid

# Before the import: otherwise that fetches a price list from the internet.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import httpx
import litellm
import openai

import case
from case import DEADLINE_S, SOCKET, say

URL = os.environ.get("OUTPOST_URL")
TOKEN = os.environ.get("OUTPOST_TOKEN", "")
MODELS = json.loads(os.environ.get("OUTPOST_MODELS", "{}"))

litellm.telemetry = False
litellm.suppress_debug_info = True


class Case(case.Case):
    def chat(self, text="Tell me of the sea.", **options):
        # LiteLLM takes the first part of the name as the provider and sends the rest.
        options = {"model": "openai/auto", "max_tokens": 16, "temperature": 0, **options}
        return litellm.completion(
            messages=say(text), client=self.client, timeout=DEADLINE_S, num_retries=0, **options
        )


class Answers(Case):
    def test_completion(self):
        answer = self.chat()
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertTrue(answer.choices[0].message.content)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        self.assertTrue(answer.system_fingerprint)
        usage = answer.usage
        self.assertGreater(usage.completion_tokens, 0)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)

    def test_a_stream_is_the_same_answer_and_ends_with_usage(self):
        whole = self.chat()
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        finished = [c.choices[0].finish_reason for c in chunks if c.choices]
        self.assertEqual([f for f in finished if f], [whole.choices[0].finish_reason])
        # Counted by Outpost, not guessed by LiteLLM's own tokenizer.
        self.assertEqual(chunks[-1].usage.total_tokens, whole.usage.total_tokens)
        self.assertEqual(chunks[-1].usage.prompt_tokens, whole.usage.prompt_tokens)

    def test_its_stream_builder_puts_the_answer_together(self):
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        built = litellm.stream_chunk_builder(chunks, messages=say("Tell me of the sea."))
        whole = self.chat()
        self.assertEqual(built.choices[0].message.content, whole.choices[0].message.content)
        self.assertEqual(built.usage.total_tokens, whole.usage.total_tokens)

    def test_parameters_come_through(self):
        name = f"litellm-{uuid.uuid4()}"
        extra = {"ignore_eos": True, "outpost": {"id": name}}
        answer = self.chat(max_tokens=5, seed=7, temperature=1, extra_body=extra)
        self.assertEqual(answer.usage.completion_tokens, 5)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.id, name)

    def test_a_model_by_its_name(self):
        (model,) = self.client.models.list().data
        answer = self.chat(model=f"openai/{model.id}", max_tokens=1)
        self.assertTrue(answer.model.endswith(model.id), answer.model)


class Errors(Case):
    def refused(self, kind, **options):
        with self.assertRaises(kind) as caught:
            self.chat(**options)
        return caught.exception

    def test_an_unknown_model_is_not_found(self):
        error = self.refused(litellm.NotFoundError, model="openai/gpt-9")
        self.assertEqual(error.status_code, 404)
        self.assertIn("gpt-9", str(error))

    def test_a_bad_value_is_a_bad_request(self):
        error = self.refused(litellm.BadRequestError, extra_body={"n": 2})
        self.assertEqual(error.status_code, 400)

    def test_a_prompt_beyond_the_context_is_refused(self):
        # LiteLLM goes by the words of the message.
        error = self.refused(litellm.ContextWindowExceededError, text="word " * 20_000)
        self.assertEqual(error.status_code, 422)

    def test_a_deadline_is_a_timeout(self):
        late = {"ignore_eos": True, "outpost": {"deadline_ms": 50}}
        self.refused(litellm.Timeout, max_tokens=900, extra_body=late)

    def test_nobody_listening_is_an_error_of_the_connection(self):
        transport = httpx.HTTPTransport(uds=SOCKET + ".gone")
        with openai.OpenAI(
            base_url="http://outpost/v1",
            api_key="unused",
            http_client=httpx.Client(transport=transport),
            max_retries=0,
        ) as self.client:
            # Of one class or another; LiteLLM has made it a 500 of its own.
            with self.assertRaisesRegex(openai.APIError, "Connection error"):
                self.chat()


@unittest.skipUnless(MODELS, "OUTPOST_MODELS is not set")
class Zones(Case):
    def test_whole_and_streamed_wherever_it_is_answered(self):
        for zone, model in MODELS.items():
            with self.subTest(zone=zone):
                model = f"openai/{model}"
                whole = self.chat(model=model)
                self.assertTrue(whole.choices[0].message.content)
                self.assertGreater(whole.usage.completion_tokens, 0)
                chunks = list(
                    self.chat(model=model, stream=True, stream_options={"include_usage": True})
                )
                text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
                self.assertTrue(text)
                self.assertEqual(chunks[-1].usage.prompt_tokens, whole.usage.prompt_tokens)

    def test_a_prompt_that_is_too_long_for_a_site_is_known_as_such(self):
        with self.assertRaises(litellm.ContextWindowExceededError):
            self.chat(text="word " * 4_000, model=f"openai/{MODELS['site']}")


class Leaving(Case):
    def test_an_abandoned_stream_ends_the_work(self):
        before = self.wait_until_idle()["engine"]["steps"]
        stream = self.chat(max_tokens=900, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.completion_stream.close()
        steps = self.wait_until_idle()["engine"]["steps"] - before
        self.assertLess(steps, 450)


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_acompletion_whole_and_streamed(self):
        transport = httpx.AsyncHTTPTransport(uds=SOCKET)
        async with openai.AsyncOpenAI(
            base_url="http://outpost/v1",
            api_key="unused",
            http_client=httpx.AsyncClient(transport=transport, timeout=DEADLINE_S),
            max_retries=0,
        ) as client:
            options = {
                "model": "openai/auto",
                "messages": say("Hi"),
                "max_tokens": 4,
                "temperature": 0,
                "client": client,
            }
            whole = await litellm.acompletion(**options)
            stream = await litellm.acompletion(stream=True, **options)
            text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
            self.assertEqual(text, whole.choices[0].message.content)


@unittest.skipUnless(URL, "OUTPOST_URL is not set")
class Tcp(unittest.TestCase):
    """As its documentation has it: an address and a key, and a client of LiteLLM's own."""

    def chat(self, **options):
        return litellm.completion(
            **{
                "model": "openai/auto",
                "api_base": f"{URL}/v1",
                "api_key": TOKEN,
                "messages": say("Hi"),
                "max_tokens": 4,
                "temperature": 0,
                "timeout": DEADLINE_S,
                "num_retries": 0,
                **options,
            }
        )

    def test_completion_whole_and_streamed(self):
        whole = self.chat()
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.total_tokens, whole.usage.total_tokens)

    def test_a_wrong_token_is_an_authentication_error(self):
        with self.assertRaises(litellm.AuthenticationError) as caught:
            self.chat(api_key="x" * 32)
        self.assertEqual(caught.exception.status_code, 401)


if __name__ == "__main__":
    unittest.main()
