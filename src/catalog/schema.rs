//! JSON Schemas of the documents, made of the shapes that documents are checked with.

use super::shape::{Record, Shape};
use super::shapes;
use crate::model::Kind;
use serde_json::{Map, Value, json};

/// The JSON Schema (draft 2020-12) of a file of a kind: a document, of assets, devices and links
/// also a list of them.
///
/// It knows every key and type that the catalog knows, and nothing of what the catalog checks
/// beyond: units, names, expressions. A key without a value, which the catalog takes as left out,
/// it refuses.
pub fn json_schema(kind: Kind) -> Value {
    let mut definitions = Map::new();
    let document = schema(&shapes::of(kind), &mut definitions);
    let mut root = Map::new();
    root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("title".into(), format!("Millstream {}", kind.name()).into());
    match kind {
        Kind::AssetTypes | Kind::DeviceTypes => root.extend(document),
        Kind::Assets | Kind::Devices | Kind::Links => {
            let list = json!({"type": "array", "items": document.clone()});
            root.insert("anyOf".into(), json!([document, list]));
        }
    }
    definitions.sort_keys();
    root.insert("$defs".into(), definitions.into());
    root.into()
}

fn schema(shape: &Shape, definitions: &mut Map<String, Value>) -> Map<String, Value> {
    let value = match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Number => json!({"type": "number"}),
        Shape::Whole(most) => json!({"type": "integer", "minimum": 0, "maximum": most}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Literal => json!({"type": ["boolean", "number", "string"]}),
        Shape::Duration => {
            let duration = json!({
                "type": "string",
                "description": "ISO 8601 (PT30S, P14D) or as people write it (250ms, 1h 30m)",
                "minLength": 2,
            });
            definitions.insert("duration".into(), duration);
            json!({"$ref": "#/$defs/duration"})
        }
        Shape::Timestamp => json!({
            "type": ["string", "number"],
            "description": "RFC 3339 (2026-03-01T06:00:00Z), or a number since 1970",
        }),
        Shape::Choice([only], _) => json!({"const": only}),
        Shape::Choice(known, _) => json!({"enum": known}),
        Shape::List(of) => json!({"type": "array", "items": schema(of, definitions)}),
        Shape::Pair(first, second) => json!({
            "type": "array",
            "prefixItems": [schema(first, definitions), schema(second, definitions)],
            "minItems": 2,
            "maxItems": 2,
        }),
        Shape::Map(of) => {
            json!({"type": "object", "additionalProperties": schema(of, definitions)})
        }
        Shape::Record(of) => record(of, None, definitions),
        Shape::Variants(variants, _) => {
            let variants = variants.iter();
            let variants: Vec<Value> =
                variants.map(|(tag, of)| record(of, Some(tag), definitions)).collect();
            json!({"oneOf": variants})
        }
    };
    match value {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// A reference to the definition of a record, which is made where it is not there yet.
fn record(of: &Record, tag: Option<&str>, definitions: &mut Map<String, Value>) -> Value {
    let name = of.name.trim_start_matches("an ").trim_start_matches("a ");
    let name = name.trim_start_matches("the ").replace(' ', "_");
    let reference = json!({"$ref": format!("#/$defs/{name}")});
    if definitions.contains_key(&name) {
        return reference;
    }
    let (mut properties, mut required) = (Map::new(), Vec::new());
    if let Some(tag) = tag {
        properties.insert("type".into(), json!({"const": tag}));
        required.push("type");
    }
    for member in of.keys {
        properties.insert(member.name.into(), schema(member.shape, definitions).into());
        if member.required {
            required.push(member.name);
        }
    }
    let mut definition = json!({
        "type": "object",
        "title": of.name,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        definition["required"] = json!(required);
    }
    definitions.insert(name, definition);
    reference
}
