"""The client of the crash test: paho, MQTT 5, QoS 1, a session that outlives its connections.

usage: crash_client.py PORT NODE CLIENT SEED OUTSTANDING

Publishes requests with ids and always has OUTSTANDING of them without a final. Every fourth it asks
once more when it has its final: it is to get the same one again. What it does and hears it writes to
standard output, one JSON object a line; who reads that judges. Commands come on standard input, one
a line:

  risk SECONDS  the broker was killed and may have forgotten what it acknowledged: requests that are
                still without a final after SECONDS are sent once more, same id, same body
  stop          no further requests
  end           leave
"""

import hashlib
import json
import queue
import random
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WORDS = "sea press board valve heat noise Monday seven copper rain oil belt".split()


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Client:
    def __init__(self, port, node, client, seed, outstanding):
        self.root = f"outpost/v1/{node}"
        self.name, self.port, self.outstanding = client, port, outstanding
        self.chance = random.Random(seed)
        self.open = {}  # id: [body, time to send it once more or None]
        self.mids = {}
        self.bodies = {}  # of requests that were not asked twice yet
        self.count = 0
        self.heard_online = False
        self.stopping = False
        self.link = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=f"c-{client}", protocol=mqtt.MQTTv5
        )
        self.link.max_inflight_messages_set(64)
        self.link.on_connect = self.on_connect
        self.link.on_publish = self.on_publish
        self.link.on_message = self.on_message

    def connect(self):
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        self.link.connect("127.0.0.1", self.port, keepalive=20, clean_start=False, properties=session)

    def on_connect(self, link, _data, flags, reason, _properties):
        say("connected", session=flags.session_present, reason=str(reason))
        link.subscribe([(f"{self.root}/response/{self.name}/+", 1), (f"{self.root}/availability", 1)])

    def on_publish(self, _link, _data, mid, reason, _properties):
        if (request := self.mids.pop(mid, None)) is not None:
            say("acked", id=request, reason=reason.value)

    def on_message(self, _link, _data, message):
        if message.topic.endswith("/availability"):
            # Its subscriptions stand by then: nothing is sent into the void before.
            self.heard_online |= message.payload == b"online"
            return
        request = message.topic.rsplit("/", 1)[1]
        body = json.loads(message.payload)
        kind = body["error"]["code"] if "error" in body else body["object"]
        say("final", id=request, digest=hashlib.sha256(message.payload).hexdigest()[:16], kind=kind)
        self.open.pop(request, None)
        if (body := self.bodies.pop(request, None)) and self.chance.random() < 0.25:
            say("twice", id=request)
            self.open[request] = [body, None]
            self.publish(request, body)

    def publish(self, request, body):
        sent = self.link.publish(f"{self.root}/request/{self.name}/{request}", body, qos=1)
        self.mids[sent.mid] = request

    def ask(self):
        self.count += 1
        request = f"r{self.count}"
        text = " ".join(self.chance.choices(WORDS, k=4))
        # Without a seed and warm: an answer that is computed twice is another answer.
        body = json.dumps({
            "messages": [{"role": "user", "content": f"Tell me of {text}."}],
            "max_tokens": self.chance.randint(4, 16),
            "temperature": 0.9,
        })
        say("sent", id=request)
        self.open[request] = [body, None]
        self.bodies[request] = body
        self.publish(request, body)

    def obey(self, command):
        word, *rest = command.split()
        if word == "risk":
            for waiting in self.open.values():
                waiting[1] = time.monotonic() + float(rest[0])
        elif word == "stop":
            self.stopping = True
        elif word == "end":
            self.link.disconnect()
            sys.exit(0)

    def send_again(self):
        now = time.monotonic()
        for request, waiting in self.open.items():
            if waiting[1] is not None and waiting[1] <= now:
                waiting[1] = None
                say("again", id=request)
                self.publish(request, waiting[0])

    def turn(self):
        if self.link.loop(timeout=0.02) != mqtt.MQTT_ERR_SUCCESS:
            try:
                self.connect()
            except OSError:
                time.sleep(0.02)  # between two tries; nobody listens yet
            return
        if self.link.is_connected() and self.heard_online:
            self.send_again()
            while not self.stopping and len(self.open) < self.outstanding:
                self.ask()


def read_commands(commands):
    for line in sys.stdin:
        commands.put(line)
    # Nobody is left who could say it.
    commands.put("end")


def main():
    port, node, name, seed, outstanding = sys.argv[1:]
    client = Client(int(port), node, name, int(seed), int(outstanding))
    commands = queue.Queue()
    threading.Thread(target=read_commands, args=[commands], daemon=True).start()
    client.connect()
    while True:
        while not commands.empty():
            client.obey(commands.get())
        client.turn()


main()
