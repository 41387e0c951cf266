#!/usr/bin/env python3
"""Reference logits that are not ours: SmolLM2-135M in float32 through llama.cpp.

Float32 weights (dequantised by llama.cpp from the published Q4_1 file), float32
KV cache, no flash attention: nothing is rounded below float32, so an
implementation that differs by more than the tolerance in the output file has a
wrong weight layout, position, mask or norm, not a different rounding.

    tests/peers/build-llama-cpp.sh
    .cache/peers/venv/bin/python tests/peers/reference_logits.py --write
    .cache/peers/venv/bin/python tests/peers/reference_logits.py --check [--threads 1] [--ubatch 32]

--check computes again and prints the largest difference to the file: with other
threads and batch sizes it shows the noise of the reference itself.
"""

import argparse
import ctypes
import hashlib
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / ".cache/peers"
BIN = PEERS / "llama.cpp/bin"
MODEL = PEERS / "smollm2-f32.gguf"
OUTPUT = ROOT / "tests/data/reference/smollm2-f32-logits.json"
COMMAND = ".cache/peers/venv/bin/python tests/peers/reference_logits.py --write"

TOP = 32        # largest logits kept for a position
SAMPLED = 64    # logits kept at evenly spaced ids: the tail, where a wrong table shows
GREEDY = 16     # tokens decoded one by one after the prompt

# Absolute, except for the norm. The reference agrees with a float64 forward pass
# to 7e-5 (5e-5 of it is the sixth digit) and with itself to 1e-4 whatever the
# threads and batch sizes; an epsilon of 1e-6 for 1e-5 shows as 8e-3, a float16
# cache as 7e-3, float16 weights as 1.5e-2, an int8 cache as 0.2, a wrong RoPE as 1.
TOLERANCE = {"logit": 1e-3, "mean": 1e-3, "l2_relative": 1e-4}

# A chat prompt with its special tokens; digits, JSON and code; and prose longer
# than one prefill chunk of 128. The ids in the output are the reference, the
# text is there for the reader (and for a test of the tokenizer).
PROMPTS = {
    "chat": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "data": '{"pump": "P-101", "rms_mm_s": 7.35, "limits": [4.5, 7.1], "ok": false}\n'
    "def alarm(rms, limit=7.1):\n    return rms >= limit  # 2024-06-30 é",
    "prose": """The gearbox of the second conveyor was opened on Tuesday because the night shift had
reported a dull knocking that came and went with the load. The oil was dark but free of water, and
the magnet at the drain held only fine grey paste, which is what one expects after four thousand
hours. The cause was found on the output side: the outer ring of the bearing had begun to creep in
its seat, and with every reversal of the drive the shaft moved by a few hundredths of a millimetre.
Nobody had seen it in the vibration record, since the sensor sits on the motor and the coupling
between them is soft. We replaced the bearing, glued the ring with the retaining compound that the
manufacturer allows for such a clearance, and moved the sensor to the housing of the gearbox. The
threshold for the warning stays at four and a half millimetres per second until a week of readings
shows what is normal at the new place. What should the operators watch for during this week?""",
}


def load_binding():
    """llama-cpp-python's ctypes declarations, without its package: that would
    want numpy and more, and struct layouts are all that is needed here."""
    os.environ["LLAMA_CPP_LIB_PATH"] = str(BIN)
    package = types.ModuleType("llama_cpp")
    package.__path__ = [str(PEERS / "src/llama_cpp")]
    sys.modules["llama_cpp"] = package
    import llama_cpp.llama_cpp as binding

    return binding


class Model:
    def __init__(self, lib, threads, ubatch):
        self.lib = lib
        self.quiet = lib.llama_log_callback(lambda *_: None)  # kept: C holds the pointer
        lib.llama_log_set(self.quiet, ctypes.c_void_p())
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(
            str(MODEL).encode(), lib.llama_model_default_params()
        )
        if not self.model:
            sys.exit(f"cannot load {MODEL}: run tests/peers/build-llama-cpp.sh first")
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.size = lib.llama_vocab_n_tokens(self.vocab)
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = 512
        params.n_ubatch = ubatch
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = lib.GGML_TYPE_F32
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = lib.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit("llama.cpp refused the context")

    def tokenize(self, text):
        ids, raw = (self.lib.llama_token * 512)(), text.encode()
        n = self.lib.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), False, True)
        assert n > 0, "prompt longer than the buffer"
        return list(ids[:n])

    def decode(self, ids, start, wanted):
        """Runs `ids` from position `start`; the full logit rows of `wanted` indices."""
        batch = self.lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = i in wanted
        status = self.lib.llama_decode(self.context, batch)
        self.lib.llama_batch_free(batch)
        if status != 0:
            sys.exit(f"llama_decode: {status}")
        return {i: self.lib.llama_get_logits_ith(self.context, i)[: self.size] for i in wanted}

    def forget(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)


def six(value):
    return float(f"{value:.6g}")


def summary(position, row):
    order = sorted(range(len(row)), key=row.__getitem__, reverse=True)
    step = len(row) // SAMPLED
    return {
        "position": position,
        "mean": six(math.fsum(row) / len(row)),
        "l2": six(math.sqrt(math.fsum(v * v for v in row))),
        "top": [[i, six(row[i])] for i in order[:TOP]],
        "sampled": [six(row[i * step]) for i in range(SAMPLED)],  # ids 0, step, 2*step, …
    }


def run(model, name, text):
    ids = model.tokenize(text)
    last = len(ids) - 1
    wanted = sorted({0, 1, last // 4, last // 2, 3 * last // 4, last})
    model.forget()
    rows = model.decode(ids, 0, wanted)
    greedy, row = [], rows[last]
    for i in range(GREEDY):
        best, second = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:2]
        # The lead tells a test at which step a near tie may go the other way.
        greedy.append({"token": best, "logit": six(row[best]), "lead": six(row[best] - row[second])})
        row = model.decode([best], len(ids) + i, [0])[0]
    positions = [summary(p, rows[p]) for p in wanted]
    return {"name": name, "text": text, "tokens": ids, "positions": positions, "greedy": greedy}


def provenance(lib, model):
    script = (ROOT / "tests/peers/build-llama-cpp.sh").read_text()
    version = subprocess.run(
        [BIN / "llama-bench", "--version"], capture_output=True, text=True, timeout=60
    )
    return {
        "command": COMMAND,
        "llama_cpp": re.search(r"LLAMA_COMMIT=(\w+)", script)[1],
        "llama_cpp_version": lib.llama_version().decode(),
        "llama_cpp_built_as": (version.stdout + version.stderr).strip().splitlines()[0],
        "source_package": re.search(r"LLAMA_PACKAGE='(.+)'", script)[1],
        "model_package": re.search(r"MODEL_PACKAGE='(.+)'", script)[1],
        "gguf": MODEL.name,
        "gguf_sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest(),
        "weights": "float32",
        "kv_cache": "float32",
        "flash_attention": False,
        "vocabulary": model.size,
        "sampled_step": model.size // SAMPLED,
        "tolerance": TOLERANCE,
    }


def differences(old, new):
    """Largest absolute difference per kind of value, over every position of a prompt."""
    worst = {"top": 0.0, "sampled": 0.0, "mean": 0.0, "l2": 0.0}
    for a, b in zip(old["positions"], new["positions"], strict=True):
        after = dict(map(tuple, b["top"]))
        # An id that left the top 32 did so from its end: its value is at most the last one.
        end = b["top"][-1][1]
        worst["top"] = max(worst["top"], *(abs(v - after.get(i, end)) for i, v in a["top"]))
        pairs = zip(a["sampled"], b["sampled"], strict=True)
        worst["sampled"] = max(worst["sampled"], *(abs(x - y) for x, y in pairs))
        for key in ("mean", "l2"):
            worst[key] = max(worst[key], abs(a[key] - b[key]))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help=f"write {OUTPUT.relative_to(ROOT)}")
    mode.add_argument("--check", action="store_true", help="compare with the file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ubatch", type=int, default=512, help="tokens computed at once")
    options = parser.parse_args()

    lib = load_binding()
    model = Model(lib, options.threads, options.ubatch)
    prompts = [run(model, name, text) for name, text in PROMPTS.items()]
    if options.write:
        # One position a line: a change can be read in a diff.
        text = json.dumps({**provenance(lib, model), "prompts": prompts}, ensure_ascii=False)
        for opening in ('"prompts": ', '{"name"', '{"position"', '"greedy"', '"tokens"'):
            text = text.replace(opening, "\n" + opening)
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        OUTPUT.write_text(text + "\n")
        print(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes")
        return
    for old, new in zip(json.loads(OUTPUT.read_text())["prompts"], prompts, strict=True):
        same = [g["token"] for g in old["greedy"]] == [g["token"] for g in new["greedy"]]
        worst = "  ".join(f"{k} {v:.2e}" for k, v in differences(old, new).items())
        print(f"{old['name']:6} tokens {'same' if old['tokens'] == new['tokens'] else 'DIFFER'}  "
              f"greedy {'same' if same else 'differs'}  {worst}")


if __name__ == "__main__":
    main()
