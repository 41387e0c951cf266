#!/bin/sh
# A Debian system in a folder, whose ONNX Runtime was built with XNNPACK.
#   root.sh make FOLDER      makes it; takes a minute and 210 MB
#   root.sh PROGRAM ARGS...  runs a program of this working copy inside; what is mounted for it is
#                            gone when it ends
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" -eq 0 ] || exec sudo -n "tests/xnnpack/root.sh" "$@"

if [ "${1:-}" = make ]; then
    # The release that has the package; a mirror that lags behind is as good.
    rm -rf "$2.part"
    mkdir -p "$(dirname "$2")"
    mmdebstrap --quiet --variant=minbase --include=libonnxruntime1.23 \
        --aptopt='Acquire::Check-Valid-Until "false"' sid "$PWD/$2.part"
    mv "$2.part" "$2"
    exit
fi

# XNNPACK looks at /proc and /sys for the processor's abilities.
exec unshare --mount --propagation private sh -ec '
    here=$1 root=$1/.cache/xnnpack/root
    shift
    for dir in /proc /sys /dev /tmp "$here"; do
        mkdir -p "$root$dir"
        mount --rbind "$dir" "$root$dir"
    done
    exec chroot "$root" /usr/bin/env -C "$here" "$@"
' sh "$PWD" "$@"
