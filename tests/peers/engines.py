"""The two engines: how each is started, asked for its kernel speeds, and stopped.

Same source weights, same number of threads, slots and context for both; apart
from that each gets the flags that are best for it.
"""

import ctypes
import json
import os
import pathlib
import signal
import statistics
import subprocess
import time

import client

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / ".cache/peers"
LLAMA_BIN = PEERS / "llama.cpp/bin"
START_TIMEOUT_S = 180.0   # a 4B model, cold page cache, packing its weights
BENCH_TIMEOUT_S = 600.0    # the same, prefill of 512 tokens a dozen times
STOP_TIMEOUT_S = 15.0


PR_SET_PDEATHSIG = 1  # prctl(2)
LIBC = ctypes.CDLL(None)


def die_with_parent():
    """Run in the child: no server is left behind even when the bench is killed outright."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Failed(Exception):
    """An engine did not start or its command failed; the message says why."""


def run_json(command, environment=None):
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=BENCH_TIMEOUT_S, preexec_fn=die_with_parent,
    )
    if done.returncode != 0:
        raise Failed(f"{command[0]}: exit {done.returncode}: {done.stderr[-500:]}")
    return json.loads(done.stdout)


class Server:
    """A started server. Only this very process is ever signalled."""

    def __init__(self, command, environment, sock, ready, log):
        self.socket = str(sock)
        pathlib.Path(sock).unlink(missing_ok=True)
        self.log = log
        self.started = time.monotonic()
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, preexec_fn=die_with_parent,
            )
        try:
            self.ready_s = self._until(lambda: client.status(self.socket, ready) == 200)
            self.answer_s = self._until(self._answers)
        except BaseException:
            self.stop()
            raise

    def _answers(self):
        """Ready may be said before the model is loaded: the first token says it for certain."""
        try:
            client.chat(self.socket, [{"role": "user", "content": "Hello"}], 1)
            return True
        except client.Refused as refusal:
            if refusal.status != 503:
                raise
            return False

    def _until(self, condition):
        """Seconds from the start of the process until the condition holds."""
        while not condition():
            if self.process.poll() is not None:
                tail = pathlib.Path(self.log).read_bytes()[-500:].decode(errors="replace")
                raise Failed(f"server ended with {self.process.returncode}: {tail}")
            if time.monotonic() - self.started > START_TIMEOUT_S:
                raise Failed(f"server not ready after {START_TIMEOUT_S:.0f} s")
            time.sleep(0.005)  # the resolution of the load time
        return time.monotonic() - self.started

    def memory_mb(self):
        """Resident and, of it, anonymous memory: the rest is reclaimable page cache."""
        fields = dict(
            line.split(":", 1)
            for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        )
        return {k: int(fields[k].split()[0]) / 1024 for k in ("VmRSS", "RssAnon")}

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Llama:
    name = "llama.cpp"

    def __init__(self, options, scratch):
        self.options, self.scratch = options, scratch

    def missing(self):
        needed = [LLAMA_BIN / "llama-bench", LLAMA_BIN / "llama-server", self.options.gguf]
        return [str(p) for p in needed if not p.exists()]

    def kernels(self):
        o = self.options
        common = [
            LLAMA_BIN / "llama-bench", "-m", o.gguf, "-t", str(o.threads), "-r", str(o.repeat),
            "-o", "json",
        ]
        rows = run_json([*common, "-p", "128,512", "-n", "0", *o.llama_prefill.split()])
        rows += run_json([*common, "-p", "0", "-n", "64", "-d", "128,512", *o.llama_decode.split()])
        result = {}
        for row in rows:
            kind = f"decode_{row['n_depth']}" if row["n_gen"] else f"prefill_{row['n_prompt']}"
            result[kind] = statistics.median(row["samples_ts"])
        return result

    def serve(self):
        o, sock = self.options, self.scratch / "llama.sock"
        command = [
            LLAMA_BIN / "llama-server", "-m", o.gguf, "--host", sock, "--threads", str(o.threads),
            "-np", str(o.slots), "-c", str(o.slots * o.context), *o.llama_server.split(),
            "--no-ui", "--offline", "--no-slots",
            # Greedy in one pass instead of the whole chain of samplers.
            "--samplers", "top_k", "--top-k", "1",
            # No second copy of finished prompts in memory; the slots keep theirs.
            "--cache-ram", "0",
        ]
        return Server(command, {}, sock, "/health", self.scratch / "llama.log")


class Outpost:
    name = "outpost"

    def __init__(self, options, scratch):
        self.options, self.scratch = options, scratch
        self.environment = {
            "OUTPOST_ENGINE__THREADS": str(options.threads),
            "OUTPOST_ENGINE__SLOTS": str(options.slots),
            "OUTPOST_ENGINE__CONTEXT": str(options.context),
        }
        if options.onnxruntime.exists():
            self.environment["OUTPOST_RUNTIME__ONNXRUNTIME"] = str(options.onnxruntime)

    def missing(self):
        return [str(p) for p in (self.options.outpost, self.options.package) if not p.exists()]

    def kernels(self):
        o = self.options
        report = run_json([o.outpost, "bench", "--model", o.package, "--json"], self.environment)
        result = {f"prefill_{r['tokens']}": r["tokens_per_s"] for r in report["prefill"]}
        result |= {f"decode_{r['depth']}": r["tokens_per_s"] for r in report["decode"]}
        return result

    def serve(self):
        sock = self.scratch / "outpost.sock"
        environment = self.environment | {
            "OUTPOST_HTTP__SOCKET": str(sock),
            "OUTPOST_MODEL__PACKAGE": str(self.options.package),
            "OUTPOST_STORE__PATH": str(self.scratch / "store"),
        }
        command = [self.options.outpost, "serve"]
        return Server(command, environment, sock, "/health/ready", self.scratch / "outpost.log")
