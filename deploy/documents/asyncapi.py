"""The topics as an AsyncAPI 3.0 document, docs/asyncapi.json, for tools; payloads are the schema files themselves."""

import json
import tomllib
from pathlib import Path
from typing import Any

from deploy.documents.page import meaning
from schemas import codec
from schemas.topics import PARTITIONS, TOPICS, Topic

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
AVRO = "application/vnd.apache.avro+json;version=1.9.0"
KAFKA = {"bindingVersion": "0.5.0"}
WIRE = "Avro single-object encoding: C3 01, the schema's CRC-64-AVRO in 8 bytes, little endian, then the body."


def text() -> str:
    """Return the document."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def document() -> dict[str, Any]:
    """Return the document as values."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Fluoro",
            "version": tomllib.loads(PROJECT.read_text())["project"]["version"],
            "description": f"The topics of a DICOM archive. {WIRE} More is in topics.md.",
        },
        "defaultContentType": "avro/binary",
        "servers": {"broker": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "The default broker."}},
        "channels": {topic.name: channel(topic) for topic in TOPICS},
        "operations": {name: one for topic in TOPICS for name, one in operations(topic).items()},
        "components": {"messages": {topic.event.__name__: message(topic) for topic in TOPICS}},
    }


def channel(topic: Topic) -> dict[str, Any]:
    """Return a topic's channel."""
    event = topic.event.__name__
    return {
        "address": topic.name,
        "summary": f"{meaning(topic)}.",
        "messages": {event: {"$ref": f"#/components/messages/{event}"}},
        "x-patient-data": topic.restricted,
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": PARTITIONS,
                "topicConfiguration": {
                    "cleanup.policy": ["delete" if topic.retention_ms else "compact"],
                    **({"retention.ms": topic.retention_ms} if topic.retention_ms else {}),
                    "max.message.bytes": topic.max_message_bytes,
                },
                **KAFKA,
            }
        },
    }


def operations(topic: Topic) -> dict[str, Any]:
    """Return what the archive does with a topic: it sends to it, and reads some itself."""
    people = {"send": topic.producers, "receive": topic.consumers}
    reference = {"$ref": f"#/channels/{topic.name}"}
    return {
        f"{action}-{topic.name}": {
            "action": action,
            "channel": reference,
            "summary": f"By {', '.join(names)}.",
            "tags": [{"name": name} for name in names],
        }
        for action, names in people.items()
        if names
    }


def message(topic: Topic) -> dict[str, Any]:
    """Return the message of a topic's event, with the schema that is written now."""
    newest = codec.newest(topic.event.__name__)
    file = f"{newest.name}/{newest.path.name}"
    return {
        "name": topic.event.__name__,
        "summary": str(newest.schema["doc"]),
        "description": f"{WIRE} Its fingerprint is {newest.fingerprint.hex()}.",
        "payload": {"schemaFormat": AVRO, "schema": {"$ref": f"../schemas/avro/{file}"}},
        "examples": [{"payload": json.loads(newest.path.with_suffix(".example.json").read_text())}],
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, **KAFKA}},
    }
