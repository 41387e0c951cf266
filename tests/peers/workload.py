"""What a running server is asked, and the figures taken from it.

Every prompt is made from a number, so both engines get the same text in the same
round, and no prompt begins like an earlier one unless that is the point.
"""

import concurrent.futures
import itertools
import statistics
import time

import client

STREAM_TOKENS = 128      # one stream alone
CONCURRENT = 8
CONCURRENT_TOKENS = 96   # for each of the eight

REMARKS = (
    "running quietly", "slight knocking under load", "seal wet but not dripping",
    "filter changed by the night shift", "coupling guard loose", "oil level at the lower mark",
)
SCHEMA = {
    "type": "object",
    "properties": {
        "machine": {"type": "string", "enum": ["pump", "fan", "gearbox", "conveyor"]},
        "severity": {"type": "string", "enum": ["normal", "warning", "alarm"]},
        "cause": {"type": "string", "enum": ["bearing", "misalignment", "imbalance", "unknown"]},
        "stop_machine": {"type": "boolean"},
        "inspect_within_hours": {"type": "integer", "enum": [1, 8, 24, 168]},
        "sensor_plausible": {"type": "boolean"},
        "spare_part_needed": {"type": "boolean"},
        "shift": {"type": "string", "enum": ["early", "late", "night"]},
    },
    "additionalProperties": False,
}
SCHEMA["required"] = list(SCHEMA["properties"])


def machine_log(number, lines):
    """About 26 tokens a line for SmolLM2, which takes digits one by one."""
    text = [f"Log {number} of the pump house."]
    for i in range(lines):
        n = number * 31 + i * 7
        text.append(
            f"Pump {n % 97}: {2 + n % 60 / 10:.1f} mm/s, {40 + n % 35} C, {REMARKS[n % len(REMARKS)]}."
        )
    return "\n".join(text)


def messages(system, user):
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def story(number):
    return messages(
        f"You are storyteller number {number}.",
        "Write a long story, in many paragraphs, about a lighthouse keeper who repairs an old engine.",
    )


def first_token(server, number):
    """Time to first token with a 500-token prompt the server has never seen, and
    again with the same system prompt and another question."""
    system = machine_log(number, 18)
    cold = client.chat(server.socket, messages(system, "Which pump needs attention?"), 4)
    warm = client.chat(server.socket, messages(system, "How hot is the hottest pump?"), 4)
    return {
        "ttft_ms": cold.ttft_ms,
        "ttft_again_ms": warm.ttft_ms,
        "ttft_gain": cold.ttft_ms / warm.ttft_ms,
        "prompt_tokens": cold.prompt_tokens,
        "cached_cold": cold.cached_tokens,
        "cached_again": warm.cached_tokens,
    }


def one_stream(server, number):
    answer = client.chat(server.socket, story(number), STREAM_TOKENS)
    return {"stream_tokens_per_s": answer.tokens_per_s, "stream_tokens": answer.tokens}


def many_streams(server, number):
    with concurrent.futures.ThreadPoolExecutor(CONCURRENT) as pool:
        begin = time.monotonic()
        answers = list(pool.map(
            lambda i: client.chat(server.socket, story(number * 100 + i), CONCURRENT_TOKENS),
            range(CONCURRENT),
        ))
    wall = max(a.done for a in answers) - begin
    tokens = sum(a.tokens for a in answers)
    return {"concurrent_tokens_per_s": tokens / wall, "concurrent_tokens": tokens}


def json_answer(server, number):
    answer = client.chat(
        server.socket,
        messages("You judge machines and answer in JSON.", machine_log(number, 1)), 200,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
        },
    )
    return {"json_ms": (answer.done - answer.sent) * 1e3, "json_tokens": answer.tokens}


def measure(server, round_number, repeat):
    """All figures of one server in one round: the median of `repeat` tries of each."""
    figures, errors = {}, []
    figures["load_s"], figures["first_answer_s"] = server.ready_s, server.answer_s
    memory = server.memory_mb()
    figures["rss_mb"], figures["anon_mb"] = memory["VmRSS"], memory["RssAnon"]

    numbers = itertools.count(1000 * (round_number + 1))
    client.chat(server.socket, story(next(numbers)), 16)  # code and weights paged in
    for task in (first_token, one_stream, many_streams, json_answer):
        try:
            tries = [task(server, next(numbers)) for _ in range(repeat)]
        except client.Refused as error:
            # 422: what this version says openly that it does not offer; its row stays empty.
            if error.status != 422:
                errors.append(f"{task.__name__}: {error!r}")
            continue
        except (OSError, TypeError, ZeroDivisionError) as error:
            errors.append(f"{task.__name__}: {error!r}")  # the other figures still count
            continue
        figures |= {key: statistics.median(t[key] for t in tries) for key in tries[0]}

    memory = server.memory_mb()
    figures["rss_after_mb"], figures["anon_after_mb"] = memory["VmRSS"], memory["RssAnon"]
    return figures, errors
