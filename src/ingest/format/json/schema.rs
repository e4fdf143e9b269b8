//! The JSON Schema of a telemetry body.

use serde_json::{Value, json};

/// The JSON Schema (draft 2020-12) of a body over HTTP: a message or an array of messages.
///
/// It describes what should be sent. The decoder takes more: keys that it does not know are
/// skipped, and of a message with a bad metric the others are kept.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Millstream telemetry",
        "anyOf": [
            {"$ref": "#/$defs/message"},
            {"type": "array", "items": {"$ref": "#/$defs/message"}},
        ],
        "$defs": {
            "message": {
                "type": "object",
                "title": "a message of a device",
                "properties": {
                    "deviceId": device("Who sends, as the catalog calls it."),
                    "device_id": device("The same as deviceId."),
                    "device": device("The same as deviceId."),
                    "metrics": {
                        "type": "object",
                        "description": "Values by metric; null means: not in this message.",
                        "additionalProperties": {"type": ["number", "boolean", "string", "null"]},
                        "maxProperties": super::METRICS_MAX,
                    },
                    "timestamp": time("When it was measured; when left out, the time of arrival."),
                    "ts": time("The same as timestamp."),
                    "time": time("The same as timestamp."),
                    "quality": {
                        "type": ["string", "integer", "null"],
                        "description": "Good, Uncertain, Bad or an OPC UA status code, for all values.",
                    },
                    "metadata": {"description": "Anything; not kept."},
                },
                "required": ["metrics"],
                "anyOf": [
                    {"required": ["deviceId"]},
                    {"required": ["device_id"]},
                    {"required": ["device"]},
                ],
            },
        },
    })
}

fn device(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn time(description: &str) -> Value {
    let forms = "RFC 3339, or a number since 1970 in s, ms, us or ns";
    json!({"type": ["string", "number", "null"], "description": format!("{description} {forms}")})
}
