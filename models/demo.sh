#!/bin/sh
# Starts the daemon on its embedded defaults, but for the paths that need root, asks it a
# question, shows the streamed answer, asks another one over MQTT when a broker is installed,
# and stops everything again.  demo.sh PACKAGE
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

PATH=$PATH:/usr/sbin:/usr/local/sbin
with_broker=
if command -v mosquitto >/dev/null && command -v mosquitto_sub >/dev/null; then
    with_broker=--with-broker
fi

"$outpost" serve $with_broker --model "$package" 2>"$work/log" &
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

if [ -n "$with_broker" ]; then
    port=$("$outpost" status --json | sed -n 's|.*"broker": "mqtt://127.0.0.1:\([0-9]*\)".*|\1|p')
    node=$("$outpost" status --json | sed -n 's|.*"node": "\(.*\)",*|\1|p')
    body='{"messages": [{"role": "user", "content": "What is the capital of Italy?"}], "max_tokens": 24, "temperature": 0}'
    printf '\n> mosquitto_pub -p %s -t outpost/v1/%s/request/demo/1 -q 1 -m %s\n' "$port" "$node" "'$body'"
    # A persistent session: the answer is kept for it even if it is quicker than the subscription.
    mosquitto_sub -p "$port" -i demo -c -q 1 -t "outpost/v1/$node/response/demo/1" -E
    mosquitto_pub -p "$port" -q 1 -t "outpost/v1/$node/request/demo/1" -m "$body"
    mosquitto_sub -p "$port" -i demo -c -q 1 -t "outpost/v1/$node/response/demo/1" -C 1 -W 60 ||
        echo "no answer came over MQTT" >&2
else
    printf '\nWith an MQTT broker installed (Debian: mosquitto mosquitto-clients) this shows a round trip over MQTT, too.\n'
fi
printf '\nAsk on: target/release/outpost serve --model %s   (see README.md)\n' "$package"
