#!/usr/bin/env python3
"""Makes tests/golden/layouts/: tiny language models in the layouts that ONNX packages are published in, and what
ONNX Runtime itself makes of them.

    python3 -m venv venv
    venv/bin/pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 gguf==0.19.0 mistral-common==1.13.1 \
        numpy==2.3.5 onnx==1.23.2 onnxruntime==1.31.1
    venv/bin/pip install --no-deps onnxruntime-genai==0.18.0 onnx-ir==1.1.0
    venv/bin/pip install --no-deps --target optimum transformers==4.57.6 tokenizers==0.22.2 huggingface-hub==0.36.2 \
        optimum==2.1.0 optimum-onnx==0.1.0
    venv/bin/python tests/golden/make_layouts.py --optimum optimum [--check]

`--check` makes all anew and compares: files byte for byte, logits within 1e-3. Without `--optimum` that
package is left as it is. The tokenizer and the template are those of make_ministral.py.

genai-f32, genai-int4   the model builder of onnxruntime-genai, as its command line runs it (`-e cpu`; int4:
                block 32, accuracy level 4), over a tiny Mistral3ForConditionalGeneration.
optimum         optimum's own export (text-generation-with-past) of a tiny LlamaForCausalLM: optimum has no
                exporter for Ministral 3.
transformersjs-q4, transformersjs-q4f16   the two-graph layout of transformers.js, weights in pieces. The
                exporter that makes the published ones is not public; its decoder is taken from the builder
                (`exclude_embeds=true`), and given the published names, `num_logits_to_keep` (q4 only), and
                float32 embeddings and logits about the float16 inside (q4f16). transformers.js hands the
                embeddings from one graph to the other as they are, so both graphs agree on float32.
                q4 takes no position_ids (the attention node rotates); q4f16 was built for an EP that wants
                them (`-e dml`), so its rotations are nodes of their own.

Beside each package NAME are NAME.json and NAME.bin: the prompt, three more tokens, the logits of all
prompt positions in one run and of each of the three in a run of its own (float32, in that order), and
the greedy continuation of the prompt, with the smallest distance between best and second best on its
way. ONNX Runtime ran with its defaults but for one thread.

The builder neither writes the query scale nor cuts YaRN's range to whole dimensions as transformers does
(truncate), and it asks for 0 < low. Hence a longer original context here than in make_ministral.py; what
is kept is what ONNX Runtime computes, whatever the model should have been.
"""

import argparse
import filecmp
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from transformers import (
    GenerationConfig, LlamaConfig, LlamaForCausalLM, Ministral3Config, Mistral3Config, Mistral3ForConditionalGeneration, PixtralVisionConfig,
)

from make_ministral import SPECIALS, VOCAB, bf16_weights, rope, save_tokenizer

OUT = pathlib.Path(__file__).parent / "layouts"
SIZES = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    head_dim=16, max_position_embeddings=512, tie_word_embeddings=True,
)
TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
LAYERS = SIZES["num_hidden_layers"]


def fill(model, seed):
    """make_ministral.py's weights with milder attention: four bits and eight-bit activations must not
    turn a rounding into another choice of position."""
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if name != "lm_head.weight"}
    weights = {name: value.float() for name, value in bf16_weights(shapes, seed).items()}
    for name in weights:
        if "q_proj" in name or "k_proj" in name:
            weights[name] /= 2
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=11, max_length=512)
    return model


def mistral3(**changes):
    text = Ministral3Config(rope_parameters=rope(original_max_position_embeddings=256, factor=2.0, **changes), **SIZES)
    vision = PixtralVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, head_dim=16, patch_size=2,
        image_size=8, hidden_act="silu",
    )
    config = Mistral3Config(text_config=text, vision_config=vision, tie_word_embeddings=True, spatial_merge_size=2, vision_feature_layer=-1)
    return fill(Mistral3ForConditionalGeneration(config), 5)


def llama():
    config = LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": 1e6}, bos_token_id=1, eos_token_id=2, pad_token_id=11, **SIZES)
    return fill(LlamaForCausalLM(config), 6)


def save_source(model, folder):
    model.save_pretrained(folder)
    if isinstance(model, LlamaForCausalLM):
        # Where the older transformers, which optimum needs, looks for it.
        config = json.loads((folder / "config.json").read_text()) | {"rope_theta": 1e6}
        (folder / "config.json").write_text(json.dumps(config))
    save_tokenizer(folder)
    # With it beside them, transformers would load another tokenizer and the builder save that one.
    (folder / "tekken.json").unlink()


def build(source, target, precision, provider, *options):
    """The builder's command line."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", source, "-o", target, "-p", precision, "-e", provider, "-c", cache]
        if options:
            command += ["--extra_options", *options]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def export_optimum(source, target, packages):
    program = f"from optimum.exporters.onnx import main_export; main_export({str(source)!r}, {str(target)!r}, task='text-generation-with-past', library_name='transformers')"
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(packages)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in TOKENIZER:
        if not (target / name).exists():
            shutil.copy(source / name, target)


def save_in_pieces(model, file, pieces):
    """External data as published: `NAME.onnx_data`, `NAME.onnx_data_1` and so on."""
    large = [t for t in model.graph.initializer if len(t.raw_data) >= 256]
    total, written, data = sum(len(t.raw_data) for t in large), 0, [b""] * pieces
    for tensor in large:
        piece = min(written * pieces // total, pieces - 1)
        raw = tensor.raw_data
        data[piece] += b"\0" * (-len(data[piece]) % 64)
        place = file.name + "_data" + (f"_{piece}" if piece else "")
        external_data_helper.set_external_data(tensor, place, offset=len(data[piece]), length=len(raw))
        data[piece] += raw
        written += len(raw)
        tensor.ClearField("raw_data")
    for piece, content in enumerate(data):
        assert content
        (file.parent / (file.name + "_data" + (f"_{piece}" if piece else ""))).write_bytes(content)
    file.write_bytes(model.SerializeToString(deterministic=True))


def float32_outside(model):
    """Embeddings in and logits out as float32, with casts about the float16 inside."""
    graph = model.graph
    for value in graph.input:
        if value.name == "inputs_embeds":
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for value in graph.output:
        if value.name == "logits":
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name in ("inputs_embeds", "logits"):
                    names[i] = name + "_f16"
    graph.node.insert(0, helper.make_node("Cast", ["inputs_embeds"], ["inputs_embeds_f16"], "/inputs_embeds/Cast", to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["logits_f16"], ["logits"], "/logits/Cast", to=TensorProto.FLOAT))
    del graph.value_info[:]


def keep_last(model):
    """`num_logits_to_keep`, a scalar: logits of the last so many positions, 0 for all."""
    graph = model.graph
    head = next(node for node in graph.node if "logits" in node.output)
    graph.input.append(helper.make_tensor_value_info("num_logits_to_keep", TensorProto.INT64, []))
    for name, value in (("keep_axes", 1), ("keep_end", 2**63 - 1)):
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [value]))
    graph.initializer.append(helper.make_tensor("keep_shape", TensorProto.INT64, [1], [1]))
    before = list(graph.node).index(head)
    graph.node.insert(before, helper.make_node("Neg", ["num_logits_to_keep"], ["keep_negative"], "/keep/Neg"))
    graph.node.insert(before + 1, helper.make_node("Reshape", ["keep_negative", "keep_shape"], ["keep_start"], "/keep/Reshape"))
    graph.node.insert(before + 2, helper.make_node("Slice", [head.input[0], "keep_start", "keep_end", "keep_axes"], ["kept"], "/keep/Slice"))
    head.input[0] = "kept"
    for value in graph.output:
        if value.name == "logits":
            value.type.tensor_type.shape.dim[1].dim_param = "num_logits_to_keep"
    del graph.value_info[:]


def embedding(table):
    """embed_tokens_fp16.onnx: a float16 table, float32 out."""
    nodes = [
        helper.make_node("Gather", ["weight", "input_ids"], ["rows"], "/embed_tokens/Gather"),
        helper.make_node("Cast", ["rows"], ["inputs_embeds"], "/embed_tokens/Cast", to=TensorProto.FLOAT),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    out = helper.make_tensor_value_info("inputs_embeds", TensorProto.FLOAT, ["batch_size", "sequence_length", table.shape[1]])
    graph = helper.make_graph(nodes, "embed_tokens", [ids], [out], [numpy_helper.from_array(table.astype(np.float16), "weight")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def save_transformersjs(source, table, target, suffix):
    target.mkdir()
    (target / "onnx").mkdir()
    half = suffix == "q4f16"
    with tempfile.TemporaryDirectory() as scratch:
        options = ["block_size=32", "exclude_embeds=true"] + ([] if half else ["accuracy_level=4"])
        build(source, scratch, "int4", "dml" if half else "cpu", *options)
        model = onnx.load(pathlib.Path(scratch) / "model.onnx")
    float32_outside(model) if half else keep_last(model)
    model.graph.name = "decoder_model_merged"
    save_in_pieces(model, target / "onnx" / f"decoder_model_merged_{suffix}.onnx", 2)
    save_in_pieces(embedding(table), target / "onnx" / "embed_tokens_fp16.onnx", 1)
    for name in [*TOKENIZER, "generation_config.json"]:
        shutil.copy(source / name, target)
    config = json.loads((source / "config.json").read_text())
    config["transformers.js_config"] = {
        "use_external_data_format": {f"decoder_model_merged_{suffix}.onnx": 2, "embed_tokens_fp16.onnx": 1},
        "kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"},
    }
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def session(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


class Package:
    """Runs a package by what its graphs declare."""

    def __init__(self, folder):
        decoder = next(iter(folder.glob("onnx/decoder_model_merged_*.onnx")), folder / "model.onnx")
        self.decoder = session(decoder)
        self.embed = session(folder / "onnx" / "embed_tokens_fp16.onnx") if (folder / "onnx").exists() else None
        self.inputs = {i.name: i.type for i in self.decoder.get_inputs()}
        self.reset()

    def reset(self):
        self.length = 0
        half = "float16" in self.inputs["past_key_values.0.key"]
        shape = (1, SIZES["num_key_value_heads"], 0, SIZES["head_dim"])
        self.cache = {n: np.zeros(shape, np.float16 if half else np.float32) for n in self.inputs if n.startswith("past_key_values.")}

    def run(self, ids):
        """Float32 logits of these tokens, all positions."""
        ids = np.array([ids], np.int64)
        end = self.length + ids.shape[1]
        feed = dict(self.cache)
        every = {
            "input_ids": lambda: ids,
            "inputs_embeds": lambda: self.embed.run(None, {"input_ids": ids})[0],
            "attention_mask": lambda: np.ones((1, end), np.int64),
            "position_ids": lambda: np.arange(self.length, end, dtype=np.int64)[None],
            "num_logits_to_keep": lambda: np.array(0, np.int64),
        }
        feed |= {name: make() for name, make in every.items() if name in self.inputs}
        outputs = dict(zip([o.name for o in self.decoder.get_outputs()], self.decoder.run(None, feed)))
        self.cache = {n: outputs[n.replace("past_key_values", "present")] for n in self.cache}
        self.length = end
        return outputs["logits"][0].astype(np.float32)

    def greedy(self, prompt, count):
        """The continuation, and the smallest distance by which a token was chosen."""
        self.reset()
        row, chosen, margin = self.run(prompt)[-1], [], np.inf
        for _ in range(count):
            second, first = np.sort(row)[-2:]
            margin = min(margin, float(first - second))
            chosen.append(int(row.argmax()))
            row = self.run(chosen[-1:])[-1]
        return chosen, margin


def prompt_for(package):
    """A prompt whose greedy continuation is never a near tie, and no end."""
    for seed in range(500):
        ids = [1, *map(int, np.random.Generator(np.random.PCG64(seed)).integers(len(SPECIALS), VOCAB, 16))]
        chosen, margin = package.greedy(ids[:13], 8)
        if margin > 0.3 and min(chosen) >= len(SPECIALS) and len(set(chosen)) > 4:
            return ids[:13], ids[13:16], chosen, margin
    raise AssertionError("no prompt is clear enough")


def save_golden(folder):
    package = Package(folder)
    prompt, forced, chosen, margin = prompt_for(package)
    package.reset()
    rows = [package.run(prompt)] + [package.run([token]) for token in forced]
    folder.with_suffix(".bin").write_bytes(np.concatenate(rows).astype("<f4").tobytes())
    about = {"prompt": prompt, "forced": forced, "greedy": chosen, "margin": round(margin, 3), "vocab": VOCAB, "rows": len(prompt) + len(forced), "onnxruntime": onnxruntime.__version__}
    folder.with_suffix(".json").write_text(json.dumps(about) + "\n")
    return prompt + forced, np.concatenate(rows)


def compare_with_transformers(name, ids, rows, model):
    with torch.no_grad():
        want = model.float().eval()(input_ids=torch.tensor([ids])).logits[0].numpy()
    print(f"{name}: {np.abs(rows - want).max():.4f} at most from transformers ({want.min():.0f} to {want.max():.0f})")


def make(out, optimum):
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / "mistral3"
        model = mistral3()
        save_source(model, source)
        build(source, out / "genai-f32", "fp32", "cpu")
        build(source, out / "genai-int4", "int4", "cpu", "block_size=32", "accuracy_level=4")
        table = model.state_dict()["lm_head.weight"].float().numpy()
        for suffix in ("q4", "q4f16"):
            save_transformersjs(source, table, out / f"transformersjs-{suffix}", suffix)
        if optimum:
            save_source(llama(), pathlib.Path(scratch) / "llama")
            export_optimum(pathlib.Path(scratch) / "llama", out / "optimum", optimum)
    for folder in sorted(p for p in out.iterdir() if p.is_dir()):
        ids, rows = save_golden(folder)
        if folder.name == "optimum":
            compare_with_transformers(folder.name, ids, rows, llama())
        else:
            compare_with_transformers(folder.name, ids, rows, mistral3())
            compare_with_transformers(folder.name + ", untruncated", ids, rows, mistral3(truncate=False))


def compare(made, kept):
    for file in sorted(p.relative_to(made) for p in made.rglob("*") if p.is_file()):
        if file.suffix == ".bin" and len(file.parts) == 1:
            ours, theirs = (np.frombuffer((d / file).read_bytes(), "<f4") for d in (made, kept))
            assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-3, f"{file}: logits differ"
        else:
            assert filecmp.cmp(made / file, kept / file, shallow=False), f"{file} differs"
    print("as kept")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--optimum", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = pathlib.Path(scratch) / "layouts"
        made.mkdir()
        make(made, arguments.optimum and arguments.optimum.resolve())
        if arguments.check:
            compare(made, OUT)
            return
        OUT.mkdir(exist_ok=True)
        for entry in made.iterdir():
            if entry.is_dir():
                shutil.rmtree(OUT / entry.name, ignore_errors=True)
                shutil.copytree(entry, OUT / entry.name)
            else:
                shutil.copy(entry, OUT)
        for file in OUT.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
    print(sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
