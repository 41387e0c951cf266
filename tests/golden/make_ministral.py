#!/usr/bin/env python3
"""Makes models/forge/tests/data/ministral/: tiny Ministral 3 models in every form that weights are published in.

    python3 -m venv venv
    venv/bin/pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 gguf==0.19.0 \
        mistral-common==1.13.1 numpy==2.3.5
    venv/bin/python tests/golden/make_ministral.py [--check] [--llama-cpp DIR]

`--check` makes everything anew and compares: files byte for byte, logits to within 2e-4 (another
CPU sums in another order). `--llama-cpp DIR` also runs that source tree's `convert_hf_to_gguf.py`
over `hf/` and `small/` and compares every key and tensor of its files with ours. DIR is a
llama.cpp tree; all was equal with the one in the source package llama-cpp-python==0.3.36, but for
the template of small/ named below.

What is made, and from what it was read (T = transformers 5.23.0, L = that llama.cpp):

hf/          transformers' own Mistral3ForConditionalGeneration, saved by its save_pretrained in
             BF16 and two shards: 3 layers, tied embeddings, the real structure scaled down. Names
             are those of the published repositories (`language_model.model.layers...`,
             `vision_tower...`, `multi_modal_projector...`): save_pretrained undoes T's
             conversion_mapping.py ["llava"]. Also the tiny tokenizer, in both its forms.
fp8/         the same model as the published FP8 repositories store it: every text projection in
             float8_e4m3fn with a scalar `weight_scale_inv` (multiply by it) and a scalar
             `activation_scale` (only for engines that quantise activations: ignored here); the
             embedding, the norms and all of the vision side in BF16. So it is in T's
             convert_ministral3_weights_to_hf.py (`weight_block_size: None`, scheme `static`, and the
             list of modules left alone) and L's conversion/base.py (`quant_method == "fp8"`). The
             scalars' dtype is not documented: BF16 here, F32 in the last layer, to have both.
             T itself loads this to these logits with FineGrainedFP8Config(dequantize=True).
small/       2 layers, untied (`lm_head.weight`), one file, and the names that T uses in memory
             (`model.language_model.layers...`): its own save of another version may write these.
fp8-blocks/  small/ with block scales (`weight_block_size`), F32, as other families have them
             (DeepSeek, Qwen): blocks at the right and lower edge are cut off, as L takes them (T's
             own dequantisation wants whole ones).
hf-f16.gguf  hf/ as L's converter writes it with `--outtype f16` from tokenizer.json.
small-f32.gguf   small/ with `--outtype f32` from tekken.json: the tokenizer's keys then also hold scores,
             all zero, and ask for a BOS. L would put a template of its own in; left out here.
logits.json, logits.bin   one sequence and transformers' float32 logits at some of its positions.

Keys of a GGUF of architecture `mistral3` (L: conversion/base.py, llama.py, mistral3.py write them,
src/llama-arch.cpp names them, src/models/mistral3.cpp and src/llama-context.cpp read them):
  mistral3.block_count, .context_length, .embedding_length, .feed_forward_length, .vocab_size,
  mistral3.attention.head_count, .head_count_kv, .layer_norm_rms_epsilon: as named
  mistral3.attention.key_length, .value_length   head_dim
  mistral3.rope.dimension_count                  head_dim, all of it is rotated
  mistral3.rope.freq_base                        rope_theta
  mistral3.rope.scaling.type = "yarn", .factor, .original_context_length   as in rope_parameters
  mistral3.rope.scaling.yarn_beta_fast, .yarn_beta_slow   edges of the ramp, in turns
  mistral3.rope.scaling.yarn_log_multiplier      mscale_all_dim. L takes mscale for 1 always, and
                                                 0 means: no division, factor 1 + 0.1 ln(factor)
  mistral3.attention.temperature_scale           llama_4_scaling_beta; 0 or absent: no query scale.
                                                 Its length is original_context_length
Tensors: token_embd, output_norm, output (absent if tied), blk.N.{attn_norm, attn_q, attn_k, attn_v,
attn_output, ffn_norm, ffn_gate, ffn_up, ffn_down}, all `.weight`. Rows of attn_q and attn_k are
permuted within each head from halves to pairs (row 2i is HF's i, row 2i+1 is HF's i + head_dim/2),
as L rotates neighbours for this architecture. Norms stay F32. The vision side is not in the file.

The llama.cpp of that source tree, run over these files, gave these logits to within 0.04 (F16, where it
rounds activations too) and 3e-5 (F32), and those of mscale-half and mscale-zero within 4e-4.
"""

import argparse
import base64
import filecmp
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import gguf
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import GenerationConfig, Ministral3Config, Mistral3Config, Mistral3ForConditionalGeneration, PixtralVisionConfig
from transformers.integrations.mistral import convert_tekken_tokenizer
from transformers.models.ministral3 import modeling_ministral3

HERE = pathlib.Path(__file__).parent
OUT = HERE.parent.parent / "models" / "forge" / "tests" / "data" / "ministral"
TEMPLATE = HERE / "templates" / "ministral3.jinja"

VOCAB = 320
LENGTH = 200
POSITIONS = [0, 5, 40, 63, 64, 80, 130, 199]
FEW = [5, 63, 130, 199]

# The real ids. 0 to 19 are mistral-common's own list; 32 to 35 are those of the real files of this
# vocabulary. What lies between is filled with the names that Tekken files use for it.
SPECIAL = {
    0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]", 6: "[/AVAILABLE_TOOLS]",
    7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]", 10: "[IMG]", 11: "<pad>", 12: "[IMG_BREAK]",
    13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]", 16: "[SUFFIX]", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]",
    19: "[TOOL_CONTENT]", 32: "[ARGS]", 33: "[CALL_ID]", 34: "[THINK]", 35: "[/THINK]",
}
SPECIALS = [SPECIAL.get(i, f"<SPECIAL_{i}>") for i in range(36)]
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# What the vocabulary holds beyond single bytes: later ones are made of earlier ones, some of them
# in more than one way (" the" = " t"+"he" = " "+"the"), and two hold parts of characters.
MERGED = [
    b" t", b"he", b"in", b"the", b" the", b"er", b" a", b"an", b"and", b" and", b"on", b"re", b" s", b"st", b"ing", b"  ",
    b"    ", b"\xc3\xa9", b"\xc3\xbc", b"\xf0\x9f", b"\xf0\x9f\x99", b"\xf0\x9f\x99\x82", b"\n\n", b"or", b"wor", b'{"', b'":', b'": ',
]


def specials_of_tekken():
    return [{"rank": rank, "token_str": text, "is_control": True} for rank, text in enumerate(SPECIALS)]


def tekken():
    """The tokenizer in mistral-common's form. A real file lists more tokens than its vocabulary
    takes, so this one does too."""
    tokens = [bytes([b]) for b in range(256)] + MERGED + [b" in", b"be", b"wo"]
    vocab = []
    for rank, token in enumerate(tokens):
        try:
            text = token.decode()
        except UnicodeDecodeError:
            text = None
        vocab.append({"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": text})
    return {
        "config": {
            "pattern": PATTERN, "num_vocab_tokens": len(tokens), "default_vocab_size": VOCAB,
            "default_num_special_tokens": len(SPECIALS), "version": "v13",
        },
        "vocab": vocab,
        "special_tokens": specials_of_tekken(),
        "image": {"image_patch_size": 14, "max_image_size": 1540, "spatial_merge_size": 2},
    }


def save_tokenizer(out):
    (out / "tekken.json").write_text(json.dumps(tekken(), indent=1) + "\n")
    tokenizer = convert_tekken_tokenizer(str(out / "tekken.json"), TEMPLATE.read_text())
    tokenizer.save_pretrained(out)
    assert len(tokenizer) == VOCAB
    return tokenizer


def rope(**changes):
    return dict(
        rope_type="yarn", rope_theta=1e6, factor=16.0, original_max_position_embeddings=64, beta_fast=32.0,
        beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1,
    ) | changes


def config(small):
    sizes = (
        dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
        if small
        else dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2)
    )
    text = Ministral3Config(
        vocab_size=VOCAB, head_dim=32, max_position_embeddings=1024, tie_word_embeddings=not small, rope_parameters=rope(), **sizes
    )
    vision = PixtralVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, head_dim=16, patch_size=2,
        image_size=8, hidden_act="silu",
    )
    return Mistral3Config(
        text_config=text, vision_config=vision, tie_word_embeddings=not small, spatial_merge_size=2, vision_feature_layer=-1
    )


def spread(name, shape):
    """How far the weights reach. Queries and keys are large enough for attention to pick out few
    positions, the table large enough for logits to lie several units apart; random norms show
    whether each was taken from its place."""
    if "norm" in name or "ln_pre" in name:
        return None
    if "embed_tokens" in name or "lm_head" in name:
        return 0.45
    if "q_proj" in name or "k_proj" in name:
        return 2.2 / shape[1] ** 0.5
    return 1.3 / np.prod(shape[1:]) ** 0.5


def bf16_weights(shapes, seed):
    """Random weights that BF16 and F16 both hold exactly, from numpy's generator: torch promises no
    stable one."""
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = {}
    for name in sorted(shapes):
        reach = spread(name, shapes[name])
        value = rng.uniform(0.5, 1.5, shapes[name]) if reach is None else rng.normal(0, reach, shapes[name])
        tensor = torch.from_numpy(value.astype(np.float32)).to(torch.bfloat16)
        weights[name] = torch.where(tensor.abs() < 2.0**-14, 0, tensor)
    return weights


def make_model(small, seed):
    torch.set_default_dtype(torch.bfloat16)
    model = Mistral3ForConditionalGeneration(config(small))
    torch.set_default_dtype(torch.float32)
    tied = set() if small else {"lm_head.weight"}
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if name not in tied}
    missing = model.load_state_dict(bf16_weights(shapes, seed), strict=False)
    assert set(missing.missing_keys) <= tied and not missing.unexpected_keys
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=11, max_length=1024)
    return model


def is_projection(name):
    return "language_model" in name and name.endswith("_proj.weight")


def save_hf(model, out):
    model.save_pretrained(out, max_shard_size="200KB")
    assert len(list(out.glob("*.safetensors"))) == 2
    save_tokenizer(out)


def write_config(model, out, **more):
    """A config.json as save_pretrained writes it, with the keys that a quantised one has besides."""
    model.config.architectures = ["Mistral3ForConditionalGeneration"]
    model.config.dtype = "bfloat16"
    content = json.loads(model.config.to_json_string(use_diff=True)) | more
    (out / "config.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def stored(folder):
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            tensors |= {name: opened.get_tensor(name) for name in opened.keys()}
    return tensors


def fp8_of(weight, blocks):
    """float8_e4m3fn and the scale that turns it back, over the whole tensor or by blocks."""
    weight = weight.float()
    rows, columns = blocks or weight.shape
    tall, wide = -(-weight.shape[0] // rows), -(-weight.shape[1] // columns)
    padded = torch.zeros(tall * rows, wide * columns)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    cells = padded.view(tall, rows, wide, columns)
    scale = cells.abs().amax(dim=(1, 3)) / 448
    if not blocks:
        scale = scale.to(torch.bfloat16).float()
    narrow = (cells / scale[:, None, :, None]).clamp(-448, 448).view(tall * rows, wide * columns)
    narrow = narrow[: weight.shape[0], : weight.shape[1]].contiguous().to(torch.float8_e4m3fn)
    return narrow, scale if blocks else scale[0, 0]


def dequantised(tensors, block):
    """The float32 weights that a stored FP8 model stands for."""
    plain = {}
    for name, tensor in tensors.items():
        if name.endswith(("weight_scale_inv", "activation_scale")):
            continue
        scale = tensors.get(name + "_scale_inv")
        tensor = tensor.float()
        if scale is not None:
            scale = scale.float()
            if block:
                scale = scale.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
                scale = scale[: tensor.shape[0], : tensor.shape[1]]
            tensor = tensor * scale
        plain[name] = tensor
    return plain


def save_fp8(source, model, out, block):
    """FP8 from what `source` holds, with the scales' names and the config of the published files."""
    tensors = {}
    for name, tensor in stored(source).items():
        if not is_projection(name):
            tensors[name] = tensor
            continue
        narrow, scale = fp8_of(tensor, block)
        base = name.removesuffix("weight")
        kept = torch.float32 if block or "layers.2." in name else torch.bfloat16
        tensors[name] = narrow
        tensors[base + "weight_scale_inv"] = scale.to(kept)
        if not block:
            tensors[base + "activation_scale"] = torch.tensor(0.02, dtype=kept)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    quantization = {
        "activation_scheme": "dynamic" if block else "static",
        "dequantize": False,
        "modules_to_not_convert": ["model.vision_tower", "model.multi_modal_projector", "lm_head"],
        "quant_method": "fp8",
        "weight_block_size": block,
    }
    write_config(model, out, quantization_config=quantization)


def save_small(model, out):
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    write_config(model, out)


def bare(name):
    """A tensor's name without what stands before the text model's own names."""
    for prefix in ("language_model.model.", "model.language_model."):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return "lm_head.weight" if name == "language_model.lm_head.weight" else name


GGUF_NAMES = {
    "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    parts = name.removesuffix(".weight").split(".")
    if parts[0] == "layers":
        return f"blk.{parts[1]}.{GGUF_NAMES['.'.join(parts[2:])]}.weight"
    return GGUF_NAMES[parts[0]] + ".weight"


def to_pairs(weight, heads):
    """Rows of a query or key projection from halves (i, i + head_dim/2) to neighbours (2i, 2i+1)."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def printable(token):
    return "".join(gguf_byte_letters()[b] for b in token)


def gguf_byte_letters():
    """GPT-2's letters for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def add_tokenizer(writer, folder, from_tekken):
    """The tokenizer's keys, as the converter takes them from tokenizer.json or from tekken.json."""
    ranks = [bytes([b]) for b in range(256)] + MERGED
    tokens = SPECIALS + [printable(token) for token in ranks]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIALS) + [gguf.TokenType.NORMAL] * len(ranks)
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(11)
    if from_tekken:
        writer.add_token_scores([0] * len(tokens))
    else:
        writer.add_chat_template(TEMPLATE.read_text())
    writer.add_add_bos_token(from_tekken)
    writer.add_add_eos_token(False)


def save_gguf(model_config, tensors, tokenizer_folder, file, half, from_tekken):
    text = model_config.text_config
    yarn = text.rope_parameters
    writer = gguf.GGUFWriter(file, "mistral3")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("Hf" if half else "Small")
    writer.add_size_label("150K" if half else "42K")
    writer.add_block_count(text.num_hidden_layers)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(yarn["factor"])
    writer.add_rope_scaling_orig_ctx_len(yarn["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_beta_fast(yarn["beta_fast"])
    writer.add_rope_scaling_yarn_beta_slow(yarn["beta_slow"])
    writer.add_rope_freq_base(yarn["rope_theta"])
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(text.vocab_size)
    writer.add_rope_dimension_count(text.head_dim)
    writer.add_rope_scaling_yarn_log_mul(yarn["mscale_all_dim"])
    writer.add_attn_temperature_scale(yarn["llama_4_scaling_beta"])
    writer.add_quantization_version(2)
    add_tokenizer(writer, tokenizer_folder, from_tekken)
    for name, tensor in tensors.items():
        name = bare(name)
        if "vision_tower" in name or "multi_modal_projector" in name:
            continue
        value = tensor.float().numpy()
        if "q_proj" in name:
            value = to_pairs(value, text.num_attention_heads)
        if "k_proj" in name:
            value = to_pairs(value, text.num_key_value_heads)
        if half and value.ndim == 2:
            value = value.astype(np.float16)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sequence():
    """Text tokens without a pattern, so that each position has its own past."""
    ids = np.random.Generator(np.random.PCG64(7)).integers(len(SPECIALS), VOCAB, LENGTH)
    return [1, *map(int, ids[1:])]


class Plain:
    """transformers with a part of the arithmetic left out, to see what it is worth."""

    def __init__(self, query_scale):
        self.query_scale = query_scale

    def __enter__(self):
        self.kept = modeling_ministral3.get_llama_4_attn_scale
        if not self.query_scale:
            modeling_ministral3.get_llama_4_attn_scale = lambda ids, beta, length: torch.ones(ids.shape)[:, None, :, None]

    def __exit__(self, *_):
        modeling_ministral3.get_llama_4_attn_scale = self.kept


def logits(weights, small, changes=None, query_scale=True):
    """Float32 logits of the whole sequence by transformers, eager attention."""
    about = config(small)
    about.text_config.rope_parameters = rope(**(changes or {})) if changes != "plain" else {
        "rope_type": "default", "rope_theta": 1e6, "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 64,
    }
    about._attn_implementation = "eager"
    with torch.no_grad(), Plain(query_scale):
        model = Mistral3ForConditionalGeneration(about).float().eval()
        named = {"model." + name.replace("language_model.model.", "language_model.") if name.startswith(
            ("language_model", "vision_tower", "multi_modal")) else name: value.float() for name, value in weights.items()}
        missing = model.load_state_dict(named, strict=False)
        assert set(missing.missing_keys) <= {"lm_head.weight"} and not missing.unexpected_keys, missing
        model.tie_weights()
        return model(input_ids=torch.tensor([sequence()])).logits[0]


def report(name, full, other):
    for low, high in ((0, 64), (64, LENGTH)):
        gap = (full - other)[low:high].abs()
        print(f"{name}, positions {low}..{high}: logits change by {gap.mean():.2f} on average, {gap.max():.2f} at most")


def save_logits(out):
    hf, small = stored(out / "hf"), stored(out / "small")
    fp8 = dequantised(stored(out / "fp8"), None)
    blocks = dequantised(stored(out / "fp8-blocks"), BLOCK)
    sets = [
        ("hf", "hf, hf-f16.gguf", POSITIONS, {}, logits(hf, False)),
        ("fp8", "fp8, its weights dequantised to float32", POSITIONS, {}, logits(fp8, False)),
        ("small", "small, small-f32.gguf", POSITIONS, {}, logits(small, True)),
        ("fp8-blocks", "fp8-blocks, its weights dequantised to float32", POSITIONS, {}, logits(blocks, True)),
    ]
    for name, changes in VARIANTS.items():
        sets.append((name, "hf with these changes to rope_parameters", FEW, changes, logits(hf, False, changes)))
    print(f"hf: logits from {sets[0][4].min():.1f} to {sets[0][4].max():.1f}, deviation {sets[0][4].std():.2f}")
    report("without the query scale", sets[0][4], logits(hf, False, query_scale=False))
    report("without YaRN", sets[0][4], logits(hf, False, "plain"))
    report("fp8 against hf", sets[0][4], sets[1][4])
    for name, _, _, _, values in sets[4:]:
        report(name, sets[0][4], values)

    about, data = [], b""
    for name, of, positions, changes, values in sets:
        chosen = values[positions].numpy().astype("<f4")
        about.append({"name": name, "of": of, "rope_parameters": changes, "positions": positions, "offset": len(data)})
        data += chosen.tobytes()
    (out / "logits.bin").write_bytes(data)
    head = {"about": "float32 little-endian, [positions, vocab] at each offset of logits.bin", "vocab": VOCAB, "ids": sequence(), "sets": about}
    (out / "logits.json").write_text(json.dumps(head, indent=1) + "\n")


BLOCK = [20, 24]
# What a config may say of the attention factor. The first three have one that is not 1. Transformers
# divides only if neither mscale is zero. A GGUF cannot say the third.
VARIANTS = {
    "mscale-half": {"mscale_all_dim": 0.5},
    "mscale-zero": {"mscale_all_dim": 0.0},
    "mscale-both": {"mscale": 0.7, "mscale_all_dim": 1.4},
    "not-truncated": {"truncate": False},
    "no-query-scale": {"llama_4_scaling_beta": 0.0},
}


def texts(tokenizer):
    """A few encodings by the tiny tokenizer; they fix its files more than its model."""
    return [
        {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)}
        for text in ("the world and the inner\n\nwording", "In 2024: {\"a\": 1}", "é ü 🙂 世界", "    four", "[INST]the[/INST]</s>", "")
    ]


def make(out):
    for name in ("hf", "fp8", "small", "fp8-blocks"):
        (out / name).mkdir(parents=True)
    model, small = make_model(False, 3), make_model(True, 4)
    save_hf(model, out / "hf")
    save_fp8(out / "hf", model, out / "fp8", None)
    save_small(small, out / "small")
    save_fp8(out / "small", small, out / "fp8-blocks", BLOCK)
    save_gguf(model.config, stored(out / "hf"), out / "hf", out / "hf-f16.gguf", True, False)
    save_gguf(small.config, stored(out / "small"), out / "hf", out / "small-f32.gguf", False, True)
    tokenizer = convert_tekken_tokenizer(str(out / "hf" / "tekken.json"), "")
    (out / "texts.json").write_text(json.dumps(texts(tokenizer), ensure_ascii=False, indent=1) + "\n")
    save_logits(out)


def compare(made, kept):
    """Byte for byte, but for the logits' last places."""
    files = sorted(p.relative_to(made) for p in made.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(kept) for p in kept.rglob("*") if p.is_file()), "the lists of files differ"
    for file in files:
        if file.name == "logits.bin":
            ours, theirs = (np.frombuffer((d / file).read_bytes(), "<f4") for d in (made, kept))
            assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 2e-4, "logits differ"
        else:
            assert filecmp.cmp(made / file, kept / file, shallow=False), f"{file} differs"
    print("as kept:", len(files), "files")


def read_gguf(file):
    reader = gguf.GGUFReader(file)
    keys = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    return keys, {t.name: (t.tensor_type.name, t.data.tolist()) for t in reader.tensors}


def against_converter(out, llama_cpp):
    """Runs the real converter. It knows a tokenizer by a hash of what it makes of a text, and so
    has to be told that ours is Tekken's."""
    start = (
        "import sys, runpy; sys.path.insert(0, {0!r}); from conversion.base import TextModel; "
        "TextModel.get_vocab_base_pre = lambda *_: 'tekken'; sys.argv = ['convert'] + {1!r}; "
        "runpy.run_path({0!r} + '/convert_hf_to_gguf.py', run_name='__main__')"
    )
    for name, file, kind in (("hf", "hf-f16.gguf", "f16"), ("small", "small-f32.gguf", "f32")):
        with tempfile.TemporaryDirectory() as scratch:
            source = pathlib.Path(scratch) / name
            shutil.copytree(out / name, source)
            if name == "small":
                shutil.copy(out / "hf" / "tekken.json", source)
            else:
                # With it, transformers would load mistral-common's tokenizer, which has no `vocab`.
                (source / "tekken.json").unlink()
            target = str(pathlib.Path(scratch) / "out.gguf")
            arguments = [str(source), "--outtype", kind, "--outfile", target]
            subprocess.run([sys.executable, "-c", start.format(str(llama_cpp), arguments)], check=True, stdout=subprocess.DEVNULL)
            theirs, ours = read_gguf(target), read_gguf(out / file)
        for what, a, b in zip(("key", "tensor"), theirs, ours):
            for key in sorted(set(a) | set(b)):
                if a.get(key) != b.get(key):
                    print(f"{file}: {what} {key}: converter {str(a.get(key))[:90]}, ours {str(b.get(key))[:90]}")
        print(f"{file}: compared {len(theirs[0])} keys and {len(theirs[1])} tensors with the converter's")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--llama-cpp", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = pathlib.Path(scratch) / "ministral"
        make(made)
        if arguments.llama_cpp:
            against_converter(made, arguments.llama_cpp)
        if arguments.check:
            compare(made, OUT)
            return
        shutil.rmtree(OUT, ignore_errors=True)
        shutil.copytree(made, OUT)
        for file in sorted(OUT.rglob("*")):
            file.chmod(0o755 if file.is_dir() else 0o644)
    print(sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
