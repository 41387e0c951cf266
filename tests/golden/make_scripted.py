#!/usr/bin/env python3
"""Makes tests/golden/scripted*.onnx: language models that say what they are told to.

    python3 -m venv venv
    venv/bin/pip install onnx==1.23.2 numpy==2.3.5
    venv/bin/python tests/golden/make_scripted.py

The next token depends on the last one alone, by the table NEXT; every other token is followed by the end. The
configuration and the tokenizer of layouts/optimum go with them.

scripted.onnx           Optimum's border; the caches hold zeros.
scripted-sound.onnx     the border of packages that Outpost makes itself; the caches are left as they are.
scripted-fading.onnx    the same, but beyond FADES tokens every logit is 0: an accelerator that goes wrong.
scripted-failing.onnx   the same, but beyond FADES tokens a run fails: an accelerator that is lost.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
VOCAB, LAYERS, HEADS, WIDTH = 320, 2, 2, 16
END, INST_END, RESULTS_END, CALLS, ARGS = 2, 4, 8, 9, 32
LETTER = {letter: 36 + ord(letter) for letter in "goha{}"}

NEXT = {
    # Whoever asks is answered with a call of the function `go` …
    INST_END: CALLS, CALLS: LETTER["g"], LETTER["g"]: LETTER["o"], LETTER["o"]: ARGS, ARGS: LETTER["{"], LETTER["{"]: LETTER["}"],
    # … and whoever brings its result, with a laugh.
    RESULTS_END: LETTER["h"], LETTER["h"]: LETTER["a"],
}


FADES = 32


def published():
    constants = {
        "zero": np.zeros((1, 1, 1, 1), np.float32),
        "middle": np.array([HEADS], np.int64),
        "end": np.array([WIDTH], np.int64),
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["chosen"]),
        helper.make_node("OneHot", ["chosen", "depth", "levels"], ["logits"], axis=-1),
        helper.make_node("Shape", ["input_ids"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["batch"]),
        helper.make_node("Gather", ["sizes", "second"], ["tokens"]),
        helper.make_node("Concat", ["batch", "middle", "tokens", "end"], ["new_sizes"], axis=0),
        helper.make_node("Expand", ["zero", "new_sizes"], ["new"]),
    ]
    tokens = ["batch_size", "sequence_length"]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "total_length"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*tokens, VOCAB])]
    for name in caches():
        nodes.append(helper.make_node("Concat", [f"past_key_values.{name}", "new"], [f"present.{name}"], axis=2))
        sizes = lambda length: ["batch_size", HEADS, length, WIDTH]
        inputs.append(helper.make_tensor_value_info(f"past_key_values.{name}", TensorProto.FLOAT, sizes("past_length")))
        outputs.append(helper.make_tensor_value_info(f"present.{name}", TensorProto.FLOAT, sizes("total_length")))
    write("scripted.onnx", nodes, inputs, outputs, constants)


def ours(file, fades, late=0.0):
    """Beyond `fades` tokens logits are multiplied by `late`; without it they cannot be computed."""
    factors = np.array([late, 1] if late is not None else [1], np.float32)
    constants = {
        "flat": np.array([-1], np.int64), "fades": np.array(fades, np.int32), "factors": factors,
        "shift": np.array(0 if late is not None else 1, np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["input_ids", "flat"], ["ids"]),
        helper.make_node("Gather", ["ids", "logits_rows"], ["asked"]),
        helper.make_node("Gather", ["table", "asked"], ["chosen"]),
        helper.make_node("OneHot", ["chosen", "depth", "levels"], ["sound"], axis=-1),
        helper.make_node("Less", ["total_len", "fades"], ["soon"]),
        helper.make_node("Cast", ["soon"], ["early"], to=TensorProto.INT64),
        # Early is 1, late 0. Shifted and doubled they are 0 and -2: of one factor, the first, and one that is not there.
        helper.make_node("Sub", ["early", "shift"], ["which"]),
        helper.make_node("Add", ["which", "which"], ["twice"]),
        helper.make_node("Gather", ["factors", "twice" if late is None else "early"], ["factor"]),
        helper.make_node("Mul", ["sound", "factor"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["sequences", "tokens"]),
        helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, ["sequences"]),
        helper.make_tensor_value_info("total_len", TensorProto.INT32, []),
        helper.make_tensor_value_info("logits_rows", TensorProto.INT64, ["rows"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", VOCAB])]
    for name in caches():
        nodes.append(helper.make_node("Identity", [f"past.{name}"], [f"present.{name}"]))
        sizes = ["sequences", HEADS, "context", WIDTH]
        inputs.append(helper.make_tensor_value_info(f"past.{name}", TensorProto.FLOAT, sizes))
        outputs.append(helper.make_tensor_value_info(f"present.{name}", TensorProto.FLOAT, sizes))
    write(file, nodes, inputs, outputs, constants)


def caches():
    return [f"{layer}.{kind}" for layer in range(LAYERS) for kind in ("key", "value")]


def write(file, nodes, inputs, outputs, constants):
    table = np.full(VOCAB, END, np.int64)
    for token, follows in NEXT.items():
        table[token] = follows
    constants |= {"table": table, "depth": np.array(VOCAB, np.int64), "levels": np.array([0, 20], np.float32)}
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "scripted", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (HERE / file).write_bytes(model.SerializeToString(deterministic=True))


published()
ours("scripted-sound.onnx", 1 << 30)
ours("scripted-fading.onnx", FADES)
ours("scripted-failing.onnx", FADES, late=None)
