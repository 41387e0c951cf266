#!/usr/bin/env python3
"""Makes tests/golden/scripted.onnx: a language model that says what it is told to.

    python3 -m venv venv
    venv/bin/pip install onnx==1.23.2 numpy==2.3.5
    venv/bin/python tests/golden/make_scripted.py

The next token depends on the last one alone, by the table NEXT; every other token is followed by the end. The
border is Optimum's (layouts/optimum), whose configuration and tokenizer go with it, the caches hold zeros.
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


def main():
    table = np.full(VOCAB, END, np.int64)
    for token, follows in NEXT.items():
        table[token] = follows
    constants = {
        "table": table,
        "depth": np.array(VOCAB, np.int64),
        "levels": np.array([0, 20], np.float32),
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
    for name in (f"{layer}.{kind}" for layer in range(LAYERS) for kind in ("key", "value")):
        nodes.append(helper.make_node("Concat", [f"past_key_values.{name}", "new"], [f"present.{name}"], axis=2))
        sizes = lambda length: ["batch_size", HEADS, length, WIDTH]
        inputs.append(helper.make_tensor_value_info(f"past_key_values.{name}", TensorProto.FLOAT, sizes("past_length")))
        outputs.append(helper.make_tensor_value_info(f"present.{name}", TensorProto.FLOAT, sizes("total_length")))
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "scripted", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (HERE / "scripted.onnx").write_bytes(model.SerializeToString(deterministic=True))


main()
