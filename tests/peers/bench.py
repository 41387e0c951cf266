#!/usr/bin/env python3
"""Outpost against llama.cpp on the same weights, interleaved in one run.

    make bench-peers                       # or:
    tests/peers/build-llama-cpp.sh && tests/peers/bench.py [--rounds 5] [--json FILE]

A round runs, one after the other and alone on the machine: the kernels of each
engine (`outpost bench`, `llama-bench`), then the server of each. The rounds
alternate A B A B, and the ratio to trust is the median over pairs of neighbours:
absolute figures drift with whoever else uses the machine. The table shows
median (min..max), the last line whether the machine was quiet enough to believe it.

Standard library only. Ends only processes it has started itself. Exit code 0
when everything asked for was measured, 1 otherwise; a missed goal is shown, not
an error.
"""

import argparse
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

import client
import engines
import quiet
import report
import workload

CACHE = engines.ROOT / ".cache"
SMALL_MODEL_BYTES = 1 << 30  # below it the goals for SmolLM2 hold, above those for the 4B


def path(text):
    return pathlib.Path(text).resolve()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rounds", type=int, default=5)
    add("--repeat", type=int, default=3, help="tries of each figure within a round")
    add("--only", choices=["outpost", "llama"], help="measure one engine alone")
    add("--skip", choices=["kernels", "servers"], help="leave out one part of the rounds")
    add("--json", type=path, metavar="FILE", help="write every figure of every round")
    add("--budget", type=int, default=2400, help="seconds after which no further part begins")
    add("--wait", type=int, default=60, metavar="SECONDS",
        help="before each part, wait at most so long until others leave the CPUs alone")
    add("--threads", type=int, default=2)
    add("--slots", type=int, default=8)
    add("--context", type=int, default=1024, help="tokens per slot")
    # Attention and cache flags decide llama.cpp's speed as much as the weights do,
    # and no setting is best at everything: a q8_0 cache with flash attention halves
    # prefill 512 against f16, f16 with it halves decode at depth 512. Prefill and decode
    # get the best of five settings; the server the one with the least memory. Before
    # a claim on first token or streams, also try --llama-server='-fa off -ctk q8_0'.
    # (Values that begin with a dash need the equals sign.)
    add("--llama-prefill", default="-fa on -ctk f16 -ctv f16", metavar="FLAGS")
    add("--llama-decode", default="-fa off -ctk q8_0", metavar="FLAGS")
    add("--llama-server", default="-fa on -ctk q8_0 -ctv q8_0", metavar="FLAGS")
    add("--gguf", type=path, default=engines.PEERS / "smollm2-q4_0-pure.gguf")
    add("--package", type=path, default=CACHE / "models/smollm2-135m-instruct")
    add("--outpost", type=path, default=engines.ROOT / "target/release/outpost")
    add("--onnxruntime", type=path, default=CACHE / "onnxruntime/libonnxruntime.so")
    return parser.parse_args()


def serve_and_measure(engine, round_number, repeat):
    server = engine.serve()
    try:
        return workload.measure(server, round_number, repeat)
    finally:
        server.stop()


def run_round(contestants, number, options, deadline):
    figures = {engine.name: {} for engine in contestants}
    errors = []
    parts = {
        "kernels": lambda engine: (engine.kernels(), []),
        "servers": lambda engine: serve_and_measure(engine, number, options.repeat),
    }
    for part, run in parts.items():
        if part == options.skip:
            continue
        for engine in contestants:
            if time.monotonic() > deadline:
                errors.append(f"round {number + 1}: out of time before {engine.name}, {part}")
                continue
            quiet.wait(options.wait)
            print(f"round {number + 1}/{options.rounds}: {engine.name}, {part}", file=sys.stderr)
            watch = quiet.Watch()
            try:
                found, failed = run(engine)
            except (engines.Failed, client.Refused, OSError, ValueError, KeyError,
                    subprocess.TimeoutExpired) as error:
                found, failed = {}, [str(error)]
            figures[engine.name] |= found | {f"others_{part}": watch.others()}
            errors += [f"round {number + 1}, {engine.name}, {part}: {text}" for text in failed]
    for text in errors:
        print(text, file=sys.stderr)
    return figures, errors


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
    }


def main():
    options = arguments()
    # So that `finally` ends the servers when this script is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    deadline, host = time.monotonic() + options.budget, machine()
    rounds, errors = [], []
    with tempfile.TemporaryDirectory(prefix="outpost-peers-") as scratch:
        kinds = {"outpost": engines.Outpost, "llama": engines.Llama}
        contestants = [
            kind(options, pathlib.Path(scratch))
            for name, kind in kinds.items() if options.only in (None, name)
        ]
        for engine in contestants:
            if missing := engine.missing():
                sys.exit(f"{engine.name}: not found: {', '.join(missing)}")
        for number in range(options.rounds):
            figures, failed = run_round(contestants, number, options, deadline)
            rounds.append(figures)
            errors += failed
            if time.monotonic() > deadline:
                break

    summary = report.summarise(rounds)
    size = options.gguf.stat().st_size if options.gguf.exists() else 0
    goals = report.GOALS["4b" if size > SMALL_MODEL_BYTES else "small"]
    print(f"{host['cpu']}, {host['cpus']} CPUs, load before {host['load_before']:.1f}; "
          f"{options.threads} threads, {options.slots} slots of {options.context} tokens, "
          f"{options.gguf.name}, {len(rounds)} rounds")
    print(report.table(summary, goals))
    print(report.disturbance(rounds))
    if options.json:
        settings = {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in vars(options).items()}
        options.json.write_text(json.dumps({
            "machine": host, "settings": settings, "summary": summary,
            "rounds": rounds, "errors": errors,
        }, indent=1) + "\n")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
