"""The official OpenAI client against Outpost, over its Unix socket.

    OUTPOST_SOCKET=/run/outpost/outpost.sock python -m unittest test_openai

The daemon should have one slot and nothing else to do. No test holds for one model
only: answers are compared with each other.
"""

import asyncio
import math
import unittest

import httpx
import httpx2
import openai

import case
from case import BASE_URL, DEADLINE_S, SOCKET, say

ENDLESS = {"max_tokens": 900, "extra_body": {"ignore_eos": True}}


class Case(case.Case):
    def chat(self, text="Tell me of the sea.", **options):
        options = {"model": "auto", "max_tokens": 16, "temperature": 0, **options}
        return self.client.chat.completions.create(messages=say(text), **options)


class Answers(Case):
    def test_chat(self):
        answer = self.chat()
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertTrue(answer.choices[0].message.content)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertTrue(answer.system_fingerprint)

    def test_a_stream_is_the_same_answer_and_ends_with_usage(self):
        whole = self.chat()
        stream = self.chat(stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage, whole.usage)
        self.assertEqual(chunks[-2].choices[0].finish_reason, whole.choices[0].finish_reason)
        self.assertTrue(all(c.usage is None for c in chunks[:-1]))

    def test_the_streaming_helper_collects_the_same_answer(self):
        with self.client.chat.completions.stream(
            model="auto", messages=say("Tell me of the sea."), max_tokens=16, temperature=0
        ) as stream:
            text = "".join(event.delta for event in stream if event.type == "content.delta")
        self.assertEqual(text, self.chat().choices[0].message.content)

    def test_stop_ends_before_the_text_wherever_tokens_end(self):
        whole = self.chat(max_tokens=32, extra_body={"ignore_eos": True}).choices[0].message.content
        # Of every length and from every place: some of these begin or end within a token.
        for start in range(len(whole) // 3, len(whole) // 3 + 4):
            for length in (2, 9):
                stop = whole[start : start + length]
                with self.subTest(stop=stop):
                    choice = self.chat(
                        max_tokens=32, stop=["\x00never", stop], extra_body={"ignore_eos": True}
                    ).choices[0]
                    self.assertEqual(choice.message.content, whole[: whole.index(stop)])
                    self.assertEqual(choice.finish_reason, "stop")

    def test_seed(self):
        def seeded(seed):
            return self.chat(seed=seed, temperature=1, max_tokens=24).choices[0].message.content

        first = seeded(1)
        self.assertEqual(first, seeded(1))
        self.assertTrue(any(seeded(other) != first for other in (2, 3, 4)))

    def test_logprobs(self):
        choice = self.chat(logprobs=True, top_logprobs=5, temperature=1, seed=3).choices[0]
        entries = choice.logprobs.content
        joined = b"".join(bytes(e.bytes) for e in entries)
        self.assertEqual(joined.decode("utf-8", "replace"), choice.message.content)
        for entry in entries:
            top = [t.logprob for t in entry.top_logprobs]
            self.assertEqual(len(top), 5)
            self.assertEqual(top, sorted(top, reverse=True))
            self.assertLessEqual(entry.logprob, 0)
            self.assertLessEqual(entry.logprob, top[0] + 1e-6)
            self.assertLess(sum(map(math.exp, top)), 1.001)

    def test_unicode_comes_through_both_ways(self):
        text = "naïve café ☕ 漢字 🦀 \u202e \u0000 e\u0301"
        tokens = self.chat(text, max_tokens=1).usage.prompt_tokens
        self.assertGreater(tokens, self.chat("a", max_tokens=1).usage.prompt_tokens)
        echo = self.chat(f"Repeat exactly: {text}", max_tokens=48, logprobs=True)
        joined = b"".join(bytes(e.bytes) for e in echo.choices[0].logprobs.content)
        self.assertEqual(joined.decode("utf-8", "replace"), echo.choices[0].message.content)

    def test_completions(self):
        answer = self.client.completions.create(
            model="auto", prompt="The sea is", max_tokens=8, temperature=0, logprobs=2
        )
        self.assertEqual(answer.object, "text_completion")
        choice = answer.choices[0]
        self.assertTrue(choice.text)
        self.assertEqual("".join(choice.logprobs.tokens), choice.text)
        stream = self.client.completions.create(
            model="auto", prompt="The sea is", max_tokens=8, temperature=0, stream=True
        )
        self.assertEqual("".join(c.choices[0].text for c in stream if c.choices), choice.text)

    def test_models(self):
        (model,) = self.client.models.list().data
        self.assertEqual(self.client.models.retrieve(model.id).id, model.id)
        self.assertEqual(self.chat(model=model.id, max_tokens=1).model, model.id)

    def test_headers_name_the_request_and_the_zone(self):
        raw = self.client.chat.completions.with_raw_response.create(
            model="auto", messages=say("Hi"), max_tokens=1
        )
        self.assertEqual(raw.headers["x-outpost-zone"], "device")
        answer = raw.parse()
        self.assertEqual(raw.headers["x-request-id"], answer.id)
        # The client shows that header as its own.
        self.assertEqual(answer._request_id, answer.id)

    def test_the_clients_own_transport_works_as_well(self):
        transport = httpx2.HTTPTransport(uds=SOCKET)
        with openai.OpenAI(
            base_url=BASE_URL, api_key="unused", http_client=httpx2.Client(transport=transport)
        ) as client:
            answer = client.chat.completions.create(model="auto", messages=say("Hi"), max_tokens=1)
        self.assertEqual(answer.usage.completion_tokens, 1)


class Errors(Case):
    def refused(self, kind, **options):
        with self.assertRaises(kind) as caught:
            self.chat(**options)
        return caught.exception

    def test_n_is_a_bad_request_that_names_the_field(self):
        error = self.refused(openai.BadRequestError, n=2)
        self.assertEqual((error.status_code, error.param, error.code), (400, "n", "invalid_request"))
        self.assertIs(error.body["retryable"], False)

    def test_wrong_types_are_bad_requests_that_name_the_field(self):
        error = self.refused(openai.BadRequestError, extra_body={"temperature": "hot"})
        self.assertEqual(error.param, "temperature")

    def test_an_unknown_model_is_not_found(self):
        error = self.refused(openai.NotFoundError, model="gpt-9")
        self.assertEqual((error.code, error.param), ("model_not_found", "model"))
        self.assertTrue(error.request_id)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-9")

    def test_a_prompt_beyond_the_context_is_unprocessable(self):
        error = self.refused(openai.UnprocessableEntityError, text="word " * 20_000)
        self.assertEqual(error.code, "context_length_exceeded")

    def test_a_body_that_is_too_large_is_413(self):
        error = self.refused(openai.APIStatusError, text="x" * 1_000_000)
        self.assertEqual((error.status_code, error.code), (413, "too_large"))

    def test_a_deadline_is_a_timeout_of_the_request(self):
        late = {"ignore_eos": True, "outpost": {"deadline_ms": 50}}
        error = self.refused(openai.APIStatusError, max_tokens=900, extra_body=late)
        self.assertEqual((error.status_code, error.code), (408, "deadline_exceeded"))

    def test_an_error_within_a_stream_is_raised(self):
        late = {"ignore_eos": True, "outpost": {"deadline_ms": 400}}
        stream = self.chat(max_tokens=900, stream=True, extra_body=late)
        with self.assertRaises(openai.APIError) as caught:
            list(stream)
        self.assertEqual(caught.exception.code, "deadline_exceeded")

    def test_nobody_listening_is_a_connection_error(self):
        transport = httpx.HTTPTransport(uds=SOCKET + ".gone")
        with openai.OpenAI(
            base_url=BASE_URL,
            api_key="unused",
            http_client=httpx.Client(transport=transport),
            max_retries=0,
        ) as client:
            with self.assertRaises(openai.APIConnectionError):
                client.models.list()


class Leaving(Case):
    def test_a_closed_stream_ends_the_work(self):
        before = self.wait_until_idle()["engine"]["steps"]
        stream = self.chat(stream=True, **ENDLESS)
        next(iter(stream))
        stream.close()
        steps = self.wait_until_idle()["engine"]["steps"] - before
        self.assertLess(steps, ENDLESS["max_tokens"] // 2)

    def test_a_client_that_times_out_ends_the_work(self):
        before = self.wait_until_idle()["engine"]["steps"]
        with self.assertRaises(openai.APITimeoutError):
            self.client.with_options(timeout=0.5).chat.completions.create(
                model="auto", messages=say("Count."), **ENDLESS
            )
        steps = self.wait_until_idle()["engine"]["steps"] - before
        self.assertLess(steps, ENDLESS["max_tokens"] // 2)


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_eight_at_once_get_each_their_own_answer(self):
        transport = httpx.AsyncHTTPTransport(uds=SOCKET)
        async with openai.AsyncOpenAI(
            base_url=BASE_URL,
            api_key="unused",
            http_client=httpx.AsyncClient(transport=transport, timeout=DEADLINE_S),
            max_retries=0,
        ) as client:

            async def ask(n):
                answer = await client.chat.completions.create(
                    model="auto",
                    messages=say("Hi"),
                    max_tokens=n + 1,
                    extra_body={"ignore_eos": True, "outpost": {"id": f"async-{n}"}},
                )
                self.assertEqual(answer.id, f"async-{n}")
                self.assertEqual(answer.usage.completion_tokens, n + 1)

            await asyncio.gather(*(ask(n) for n in range(8)))
            stream = await client.chat.completions.create(
                model="auto", messages=say("Hi"), max_tokens=4, stream=True
            )
            self.assertTrue([chunk async for chunk in stream])


if __name__ == "__main__":
    unittest.main()
