"""Writes dequant.json: random blocks of each format and what the `gguf` package makes of them.

python3 -m pip install gguf==0.19.0 && python3 dequant.py > dequant.json
"""

import json

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
rng = np.random.default_rng(7)
out = {}
for name, places in HALVES.items():
    size = GGML_QUANT_SIZES[T[name]][1]
    blocks = rng.integers(0, 256, (2, size), dtype=np.uint8)
    for place in places:
        for block in blocks:
            block[place : place + 2] = np.frombuffer(np.float16(rng.normal() / 16).tobytes(), np.uint8)
    numbers = dequantize(blocks, T[name]).reshape(-1)
    out[name] = {"bytes": blocks.tobytes().hex(), "numbers": [float(f"{x:.7g}") for x in numbers.tolist()]}
bits = rng.integers(0, 2**15, 8, dtype=np.uint16)
out["BF16"] = {"bytes": bits.tobytes().hex(), "numbers": (bits.astype(np.uint32) << 16).view(np.float32).tolist()}
print(json.dumps(out))
