#!/bin/sh
# Starts the daemon on its embedded defaults, but for the paths that need root, asks it a
# question, shows the streamed answer, and stops it again.  demo.sh PACKAGE
set -eu
cd "$(dirname "$0")/.."
package=$1
question=${QUESTION:-What is the capital of France?}
outpost=target/release/outpost

work=$(mktemp -d)
OUTPOST_CONFIG=$work/outpost.toml # empty: nothing of this machine's own configuration
OUTPOST_HTTP__SOCKET=$work/outpost.sock
OUTPOST_STORE__PATH=$work/state
export OUTPOST_CONFIG OUTPOST_HTTP__SOCKET OUTPOST_STORE__PATH
: >"$OUTPOST_CONFIG"

"$outpost" serve --model "$package" 2>"$work/log" &
daemon=$!
finish() {
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The daemon answers at once and says how far the model is; a minute is enough on slow boards.
tries=600
until "$outpost" status --json 2>/dev/null | grep -q '"state": "ready"'; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ] || ! kill -0 "$daemon" 2>/dev/null; then
        echo "The daemon did not become ready. Its log:" >&2
        cat "$work/log" >&2
        exit 1
    fi
    sleep 0.1
done

"$outpost" status
printf '\n> %s\n' "$question"
"$outpost" ask --temperature 0 --system "You are a helpful assistant." "$question" </dev/null
printf '\nAsk on: target/release/outpost serve --model %s   (see README.md)\n' "$package"
