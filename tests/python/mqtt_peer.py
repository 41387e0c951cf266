"""paho-mqtt as a process that a test drives: orders come in as lines of JSON, news go out.

    python mqtt_peer.py '{"port": 1883, "version": 5, "client": "plc", "filters": ["#"]}'

Orders: {"topic", "payload", "qos", "retain", "properties"} publishes. The end of the input ends it.
News: {"ready"} once every filter is granted, {"topic", "payload", "qos", "retain", "properties"} for
each message, {"lost"} when there is no connection. Bytes are hexadecimal.
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

OPTIONS = json.loads(sys.argv[1])
FIVE = OPTIONS["version"] == 5
OUTPUT = threading.Lock()
# Name in an order or a piece of news, and name in paho.
TEXTS = {
    "response_topic": "ResponseTopic",
    "content_type": "ContentType",
    "expiry_s": "MessageExpiryInterval",
    "utf8": "PayloadFormatIndicator",
}


def say(**news):
    with OUTPUT:
        print(json.dumps(news), flush=True)


def properties_of(order):
    if not FIVE:
        return None
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in order.items():
        if name == "correlation":
            properties.CorrelationData = bytes.fromhex(value)
        elif name == "user":
            for pair in value:
                properties.UserProperty = tuple(pair)
        else:
            setattr(properties, TEXTS[name], value)
    return properties


def news_of(properties):
    news = {ours: getattr(properties, paho) for ours, paho in TEXTS.items() if hasattr(properties, paho)}
    if hasattr(properties, "CorrelationData"):
        news["correlation"] = properties.CorrelationData.hex()
    if hasattr(properties, "UserProperty"):
        news["user"] = properties.UserProperty
    return news


def subscribe(client):
    if FIVE:
        # As it was published: a final that is retained by mistake is to be seen as such.
        how = SubscribeOptions(qos=1, retainAsPublished=True)
        client.subscribe([(topic, how) for topic in OPTIONS["filters"]])
    else:
        client.subscribe([(topic, 1) for topic in OPTIONS["filters"]])


def on_connect(client, _data, _flags, reason, _properties):
    if reason.is_failure:
        say(lost=str(reason))
    else:
        subscribe(client)


def on_subscribe(_client, _data, _mid, reasons, _properties):
    refused = [str(reason) for reason in reasons if reason.is_failure]
    say(ready=True) if not refused else say(lost=refused[0])


def on_message(_client, _data, message):
    say(
        topic=message.topic,
        payload=message.payload.hex(),
        qos=message.qos,
        retain=bool(message.retain),
        properties=news_of(message.properties) if FIVE else {},
    )


def on_disconnect(_client, _data, _flags, reason, _properties):
    say(lost=str(reason))


def session():
    """With `session_s` the broker keeps what comes for this client while it is away."""
    if "session_s" not in OPTIONS:
        return {}
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = OPTIONS["session_s"]
    return {"clean_start": False, "properties": properties}


def main():
    protocol = mqtt.MQTTv5 if FIVE else mqtt.MQTTv311
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, OPTIONS["client"], protocol=protocol)
    if "ca" in OPTIONS:
        client.tls_set(OPTIONS["ca"], OPTIONS.get("cert"), OPTIONS.get("key"))
    if "user" in OPTIONS:
        client.username_pw_set(OPTIONS["user"], OPTIONS["password"])
    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.on_disconnect = on_disconnect
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", OPTIONS["port"], **session())
    client.loop_start()
    for line in sys.stdin:
        order = json.loads(line)
        client.publish(
            order["topic"],
            bytes.fromhex(order["payload"]),
            order["qos"],
            order["retain"],
            properties_of(order["properties"]),
        )
    client.disconnect()
    client.loop_stop()


main()
