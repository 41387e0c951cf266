"""The official OpenAI client and a model that calls tools, `tests/golden/make_scripted.py`: asked, it calls `go`
without arguments; told the result, it laughs.

    OUTPOST_SOCKET=/run/outpost/outpost.sock python -m unittest test_openai_tools
"""

import json

from case import Case, say

GO = {"type": "function", "function": {"name": "go", "description": "Goes.", "parameters": {"type": "object", "properties": {}}}}


class Tools(Case):
    def ask(self, messages, **options):
        options = {"model": "auto", "max_tokens": 20, "temperature": 0, "tools": [GO], **options}
        return self.client.chat.completions.create(messages=messages, **options)

    def test_a_round_of_call_and_result(self):
        messages = say("Go!")
        answer = self.ask(messages)
        message = answer.choices[0].message
        self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
        self.assertIsNone(message.content)
        (call,) = message.tool_calls
        self.assertEqual((call.type, call.function.name, json.loads(call.function.arguments)), ("function", "go", {}))
        messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "gone"}]
        answer = self.ask(messages)
        self.assertEqual((answer.choices[0].finish_reason, answer.choices[0].message.content), ("stop", "ha"))
        self.assertIsNone(answer.choices[0].message.tool_calls)

    def test_the_streaming_helper_collects_the_call(self):
        with self.client.chat.completions.stream(
            model="auto", messages=say("Go!"), max_tokens=20, temperature=0, tools=[GO]
        ) as stream:
            done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
            final = stream.get_final_completion()
        self.assertEqual([(event.name, event.arguments, event.index) for event in done], [("go", "{}", 0)])
        (call,) = final.choices[0].message.tool_calls
        self.assertEqual((call.function.name, call.function.arguments), ("go", "{}"))
        self.assertTrue(call.id)
        self.assertEqual(final.choices[0].finish_reason, "tool_calls")

    def test_choices_that_force_a_call(self):
        named = {"type": "function", "function": {"name": "go"}}
        for choice in ("required", named):
            (call,) = self.ask(say("Go!"), tool_choice=choice).choices[0].message.tool_calls
            self.assertEqual((call.function.name, call.function.arguments), ("go", "{}"), choice)

    def test_without_leave_to_call_there_is_no_call(self):
        for options in ({"tool_choice": "none"}, {"tools": None}):
            self.assertIsNone(self.ask(say("Go!"), **options).choices[0].message.tool_calls, options)
