"""The official OpenAI client, unchanged, against models on the device, on a site and in the
cloud: what an application sees is the same wherever it is answered.

    OUTPOST_SOCKET=/run/outpost/outpost.sock \\
    OUTPOST_MODELS='{"device": "auto", "site": "hq", "cloud": "org/small"}' \\
        python -m unittest test_openai_zones

`OUTPOST_REFUSED`, an object as well, names what is refused: `policy_denied` is a text that may
not leave, `budget_exhausted`, `provider_error` and `model_not_found` are models.
"""

import json
import os
import unittest

import openai

import case
from case import say

MODELS = json.loads(os.environ["OUTPOST_MODELS"])
REFUSED = json.loads(os.environ.get("OUTPOST_REFUSED", "{}"))
TOOL = {
    "type": "function",
    "function": {
        "name": "level",
        "parameters": {"type": "object", "properties": {"tank": {"type": "integer"}}},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"level": {"type": "integer"}},
    "required": ["level"],
    "additionalProperties": False,
}


class Case(case.Case):
    def setUp(self):
        super().setUp()
        self.completions = self.client.chat.completions

    def options(self, model, text="Tell me of the sea.", **options):
        options = {"max_tokens": 16, "temperature": 0, **options}
        return {"model": model, "messages": say(text), **options}


class Answers(Case):
    def test_plain(self):
        for zone, model in MODELS.items():
            with self.subTest(zone=zone):
                raw = self.completions.with_raw_response.create(**self.options(model))
                self.assertEqual(raw.headers["x-outpost-zone"], zone)
                answer = raw.parse()
                self.assertEqual(answer.object, "chat.completion")
                self.assertEqual(answer.choices[0].message.role, "assistant")
                self.assertTrue(answer.choices[0].message.content)
                self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
                usage = answer.usage
                self.assertGreater(usage.completion_tokens, 0)
                self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
                self.assertEqual(raw.headers["x-request-id"], answer.id)

    def test_streaming(self):
        for zone, model in MODELS.items():
            with self.subTest(zone=zone):
                options = self.options(model, stream=True, stream_options={"include_usage": True})
                chunks = list(self.completions.create(**options))
                self.assertEqual(len({c.id for c in chunks}), 1)
                self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
                text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
                self.assertTrue(text)
                finished = [c.choices[0].finish_reason for c in chunks if c.choices]
                self.assertEqual(sum(f is not None for f in finished), 1)
                self.assertEqual(chunks[-1].choices, [])
                self.assertGreater(chunks[-1].usage.completion_tokens, 0)

    def test_the_streaming_helper(self):
        for zone, model in MODELS.items():
            with self.subTest(zone=zone):
                with self.completions.stream(**self.options(model)) as stream:
                    text = "".join(event.delta for event in stream if event.type == "content.delta")
                    # Not the final: that is an exception where the answer was cut at its bound.
                    whole = stream.current_completion_snapshot
                self.assertTrue(text)
                self.assertEqual(whole.choices[0].message.content, text)

    def test_models_list_what_can_be_asked_for(self):
        listed = {model.id: model for model in self.client.models.list()}
        self.assertIn(MODELS["site"], listed)
        self.assertEqual(listed[MODELS["site"]].zone, "site")
        self.assertIn("device", {model.zone for model in listed.values()})
        self.assertEqual(self.client.models.retrieve(MODELS["site"]).id, MODELS["site"])
        cloud = self.client.models.list(extra_query={"zone": "cloud"})
        self.assertIn(MODELS["cloud"], {model.id for model in cloud})

    def test_a_tool_is_called_and_its_result_answered(self):
        options = self.options(MODELS["cloud"], "How full is tank 7?", tools=[TOOL])
        answer = self.completions.create(**options).choices[0]
        self.assertEqual(answer.finish_reason, "tool_calls")
        (call,) = answer.message.tool_calls
        self.assertEqual(call.function.name, "level")
        self.assertEqual(json.loads(call.function.arguments), {"tank": 7})
        options["messages"] += [
            answer.message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "half"},
        ]
        answer = self.completions.create(**options).choices[0]
        self.assertEqual(answer.finish_reason, "stop")
        self.assertIn("half", answer.message.content)

    def test_a_tool_is_called_in_a_stream(self):
        options = self.options(MODELS["cloud"], "How full is tank 7?", tools=[TOOL])
        with self.completions.stream(**options) as stream:
            answer = stream.get_final_completion().choices[0]
        (call,) = answer.message.tool_calls
        self.assertEqual(json.loads(call.function.arguments), {"tank": 7})

    def test_an_answer_meets_its_schema(self):
        named = {"name": "reading", "schema": SCHEMA, "strict": True}
        wanted = {"type": "json_schema", "json_schema": named}
        answer = self.completions.create(**self.options(MODELS["cloud"], response_format=wanted))
        self.assertIsInstance(json.loads(answer.choices[0].message.content)["level"], int)


class Errors(Case):
    def refused(self, kind, model, code, **options):
        with self.assertRaises(kind) as caught:
            self.completions.create(**self.options(model, **options))
        self.assertEqual(caught.exception.code, code)
        return caught.exception

    def test_what_the_policy_keeps_is_a_permission_denied(self):
        for zone in ("site", "cloud"):
            with self.subTest(zone=zone):
                text = REFUSED["policy_denied"]
                error = self.refused(
                    openai.PermissionDeniedError, MODELS[zone], "policy_denied", text=text
                )
                self.assertIs(error.body["retryable"], False)

    def test_an_exhausted_budget_is_a_rate_limit(self):
        model = REFUSED["budget_exhausted"]
        self.refused(openai.RateLimitError, model, "budget_exhausted")

    def test_a_model_that_nobody_offers_is_not_found(self):
        model = REFUSED["model_not_found"]
        self.refused(openai.NotFoundError, model, "model_not_found")

    def test_a_provider_that_fails_is_an_error_of_the_server(self):
        model = REFUSED["provider_error"]
        error = self.refused(openai.InternalServerError, model, "provider_error")
        self.assertEqual(error.status_code, 502)
        self.assertIs(error.body["retryable"], True)

    def test_a_prompt_that_is_too_long_for_a_site_is_unprocessable(self):
        kind = openai.UnprocessableEntityError
        self.refused(kind, MODELS["site"], "context_length_exceeded", text="word " * 4_000)

    def test_no_model_beyond_the_device_answers_what_has_to_stay(self):
        for zone in ("site", "cloud"):
            with self.subTest(zone=zone):
                here = {"outpost": {"zone_max": "device"}}
                kind = openai.PermissionDeniedError
                self.refused(kind, MODELS[zone], "policy_denied", extra_body=here)


if __name__ == "__main__":
    unittest.main()
