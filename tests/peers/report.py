"""The figures' names, the goals from the design, and the table."""

import statistics

import quiet

# name, unit, digits, what it is
METRICS = (
    ("prefill_128", "t/s", 0, "prefill, 128 tokens"),
    ("prefill_512", "t/s", 0, "prefill, 512 tokens"),
    ("decode_128", "t/s", 1, "decode at depth 128"),
    ("decode_512", "t/s", 1, "decode at depth 512"),
    ("load_s", "s", 3, "start to ready"),
    ("first_answer_s", "s", 3, "start to first answer"),
    ("rss_mb", "MB", 0, "resident after load"),
    ("anon_mb", "MB", 0, "anonymous after load"),
    ("rss_after_mb", "MB", 0, "resident after the run"),
    ("anon_after_mb", "MB", 0, "anonymous after the run"),
    ("ttft_ms", "ms", 0, "first token, 500-token prompt"),
    ("ttft_again_ms", "ms", 1, "first token, same system prompt"),
    ("ttft_gain", "x", 1, "gain of the second over the first"),
    ("stream_tokens_per_s", "t/s", 1, "one stream over HTTP"),
    ("concurrent_tokens_per_s", "t/s", 0, "8 streams over HTTP, total"),
    ("json_ms", "ms", 0, "JSON answer, 8 fields"),
)

# Bounds for outpost / llama.cpp; "own" is a bound for Outpost's figure itself.
COMMON_GOALS = {
    "load_s": ("<=", 0.2),
    "first_answer_s": ("<=", 0.2),
    "rss_mb": ("<=", 0.6),
    "ttft_again_ms": ("<=", 1.0),
    "ttft_gain": ("own >=", 20.0),
    "json_ms": ("<=", 1 / 3),
}
GOALS = {
    "small": COMMON_GOALS | {
        "prefill_512": (">=", 1.4), "decode_128": (">=", 1.1),
        "stream_tokens_per_s": (">=", 1.1), "concurrent_tokens_per_s": (">=", 1.8),
    },
    "4b": COMMON_GOALS | {
        "prefill_512": (">=", 1.4), "decode_128": (">=", 1.3),
        "stream_tokens_per_s": (">=", 1.3), "concurrent_tokens_per_s": (">=", 2.0),
    },
}


def summarise(rounds):
    """rounds: a list of {engine: {figure: value}}, in the order they were run."""
    result = {}
    for name, *_ in METRICS:
        engines = {}
        for engine in ("outpost", "llama.cpp"):
            values = [r[engine][name] for r in rounds if name in r.get(engine, {})]
            if values:
                engines[engine] = {
                    "median": statistics.median(values), "min": min(values), "max": max(values),
                    "rounds": len(values),
                }
        row = {"engines": engines}
        # Neighbours in time share the machine's mood: their ratios are the trustworthy ones.
        pairs = [
            r["outpost"][name] / r["llama.cpp"][name]
            for r in rounds if all(name in r.get(e, {}) for e in ("outpost", "llama.cpp"))
        ]
        if pairs:
            row["ratio_of_medians"] = engines["outpost"]["median"] / engines["llama.cpp"]["median"]
            row["median_of_ratios"] = statistics.median(pairs)
            row["ratios"] = pairs
        if engines:
            result[name] = row
    return result


def verdict(goal, row):
    if not goal:
        return ""
    kind, bound = goal
    text = f"{kind} {bound:.2f}"
    own = kind.startswith("own")
    value = row["engines"].get("outpost", {}).get("median") if own else row.get("median_of_ratios")
    if value is None:
        return text
    met = value >= bound if kind.endswith(">=") else value <= bound
    return f"{text}  {'met' if met else 'MISSED'}"


def table(summary, goals):
    def spread(figures, digits):
        if not figures:
            return "-"
        return (f"{figures['median']:.{digits}f} "
                f"({figures['min']:.{digits}f}..{figures['max']:.{digits}f})")

    lines = [f"{'':<34}{'':<5}{'outpost':>24}{'llama.cpp':>24}{'ratio':>8}{'pairs':>8}   goal"]
    for name, unit, digits, title in METRICS:
        if name not in summary:
            continue
        row = summary[name]
        ratio, pairs = (
            f"{row[key]:.2f}" if key in row else "-"
            for key in ("ratio_of_medians", "median_of_ratios")
        )
        cells = "".join(
            f"{spread(row['engines'].get(e), digits):>24}" for e in ("outpost", "llama.cpp")
        )
        lines.append(f"{title:<34}{unit:<5}{cells}{ratio:>8}{pairs:>8}   "
                     f"{verdict(goals.get(name), row)}".rstrip())
    return "\n".join(lines)


def disturbance(rounds):
    shares = [
        value for figures in rounds for engine in figures.values()
        for name, value in engine.items() if name.startswith("others_")
    ]
    if not shares:
        return "nothing was measured"
    text = (f"other processes took {statistics.median(shares):.0%} of the CPUs "
            f"(median of the parts; at most {max(shares):.0%})")
    return text if max(shares) < quiet.QUIET else f"{text}: DISTURBED, do not quote these figures"
