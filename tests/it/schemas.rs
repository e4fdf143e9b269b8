//! The JSON Schemas in `schemas/` are those of the program, and say what the program says.

use crate::support::*;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const KINDS: [&str; 5] = ["asset_types", "device_types", "assets", "devices", "links"];

fn schema(name: &str) -> Value {
    let path = repository(&format!("schemas/{name}.schema.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Where a value is not as its schema says. Knows the words that our schemas use, and no others.
fn faults(value: &Value, schema: &Value, root: &Value, path: &str) -> Vec<String> {
    let Value::Object(words) = schema else { panic!("{path}: a schema is no object") };
    let mut found = Vec::new();
    for (word, what) in words {
        let fits = match (word.as_str(), value) {
            ("$schema" | "$defs" | "title" | "description", _) => true,
            ("$ref", _) => {
                let target = what.as_str().unwrap().strip_prefix('#').unwrap();
                found.extend(faults(value, root.pointer(target).unwrap(), root, path));
                true
            }
            ("type", _) => match what {
                Value::Array(types) => types.iter().any(|one| is(value, one)),
                one => is(value, one),
            },
            ("const", _) => value == what,
            ("enum", _) => what.as_array().unwrap().contains(value),
            ("anyOf", _) => matching(value, what, root, path) > 0,
            ("oneOf", _) => matching(value, what, root, path) == 1,
            ("minimum", Value::Number(number)) => number.as_f64() >= what.as_f64(),
            ("maximum", Value::Number(number)) => number.as_f64() <= what.as_f64(),
            ("minLength", Value::String(text)) => text.len() as u64 >= what.as_u64().unwrap(),
            ("minItems", Value::Array(items)) => items.len() as u64 >= what.as_u64().unwrap(),
            ("maxItems", Value::Array(items)) => items.len() as u64 <= what.as_u64().unwrap(),
            ("maxProperties", Value::Object(map)) => map.len() as u64 <= what.as_u64().unwrap(),
            ("items", Value::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    found.extend(faults(item, what, root, &format!("{path}[{i}]")));
                }
                true
            }
            ("prefixItems", Value::Array(items)) => {
                for (i, (item, what)) in items.iter().zip(what.as_array().unwrap()).enumerate() {
                    found.extend(faults(item, what, root, &format!("{path}[{i}]")));
                }
                true
            }
            ("required", Value::Object(map)) => {
                what.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))
            }
            ("properties", Value::Object(map)) => {
                for (key, what) in what.as_object().unwrap() {
                    if let Some(value) = map.get(key) {
                        found.extend(faults(value, what, root, &format!("{path}.{key}")));
                    }
                }
                true
            }
            ("additionalProperties", Value::Object(map)) => {
                found.extend(additional(map, what, words, root, path));
                true
            }
            (
                "minimum"
                | "maximum"
                | "minLength"
                | "minItems"
                | "maxItems"
                | "maxProperties"
                | "items"
                | "prefixItems"
                | "required"
                | "properties"
                | "additionalProperties",
                _,
            ) => true,
            (other, _) => panic!("{path}: no test knows the word '{other}'"),
        };
        if !fits {
            found.push(format!("{path}: {word} is not {what}"));
        }
    }
    found
}

fn additional(
    map: &Map<String, Value>,
    what: &Value,
    words: &Map<String, Value>,
    root: &Value,
    path: &str,
) -> Vec<String> {
    let known = |key: &str| words.get("properties").is_some_and(|known| known.get(key).is_some());
    let others = map.iter().filter(|(key, _)| !known(key));
    let check = |(key, value): (&String, &Value)| match what {
        Value::Bool(false) => vec![format!("{path}.{key}: is not known")],
        schema => faults(value, schema, root, &format!("{path}.{key}")),
    };
    others.flat_map(check).collect()
}

fn matching(value: &Value, schemas: &Value, root: &Value, path: &str) -> usize {
    let schemas = schemas.as_array().unwrap().iter();
    schemas.filter(|schema| faults(value, schema, root, path).is_empty()).count()
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "null" => value.is_null(),
        other => panic!("no test knows the type '{other}'"),
    }
}

fn check(value: &Value, schema: &Value) -> Vec<String> {
    faults(value, schema, schema, "")
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_schemas_are_those_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    run(&["schemas", "--output", text(folder.path())]).expect(0);
    let names = run(&["schemas"]).expect(0).out;
    assert_eq!(names.lines().collect::<Vec<_>>(), [&KINDS[..], &["telemetry"]].concat());
    for name in names.lines() {
        let file = format!("{name}.schema.json");
        let made = fs::read_to_string(folder.path().join(&file)).unwrap();
        let kept = fs::read_to_string(repository("schemas").join(&file)).unwrap_or_default();
        assert_eq!(made, kept, "write them with `cargo run -- schemas --output schemas`");
        assert_eq!(run(&["schemas", name]).expect(0).out, made);
        let schema: Value = serde_json::from_str(&made).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
    let said = run(&["schemas", "pumps"]).expect(1).err;
    assert!(said.contains("asset_types, device_types"), "{said}");
}

#[test]
fn documents_are_as_their_schemas_say() {
    let mut checked = 0;
    for kind in KINDS {
        let schema = schema(kind);
        for folder in ["dataflows", "tests/data/plant", "benches/asset_telemetry"] {
            for file in files(&repository(folder).join(kind)) {
                let text = fs::read_to_string(&file).unwrap();
                if let Some(named) = text.lines().next().unwrap().split_once("$schema=") {
                    let named = file.parent().unwrap().join(named.1).canonicalize().unwrap();
                    assert_eq!(named, repository(&format!("schemas/{kind}.schema.json")));
                }
                let document = yaml(&text);
                assert_eq!(check(&document, &schema), Vec::<String>::new(), "{}", file.display());
                checked += 1;
            }
        }
    }
    assert!(checked >= 7, "{checked}");
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let blocks = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut told = 0;
    for block in blocks {
        let kind = KINDS.into_iter().find(|kind| {
            block.lines().take(2).any(|line| line.contains(&format!("plant/{kind}/")))
        });
        let found = check(&yaml(block), &schema(kind.unwrap()));
        assert_eq!(found, Vec::<String>::new(), "{block}");
        told += 1;
    }
    assert!(told >= 2, "{told}");
}

/// What is changed in a document, and a part of what the schema says of it.
const WRONG: [(&str, &str, &str); 9] = [
    ("event_rules:", "event_rule:", ".event_rule: is not known"),
    ("metadata:\n  key: pump", "metadata:\n  kee: pump", ".metadata: required"),
    ("{unit: Cel, range", "{unit: 5, range", "temperature.unit: type"),
    ("[-20, 150]", "[-20]", "range: minItems"),
    ("[-20, 150]", "[-20, hot]", "range[1]: type"),
    ("type: weighted_deductions", "type: guess", ".health_algorithm: oneOf"),
    ("deduct: 30", "deduct: much", ".health_algorithm: oneOf"),
    ("op: gt, value: 70", "op: above, value: 70", "warning.op: enum"),
    ("hot_horizon: PT1H", "hot_horizon: 3600", "hot_horizon: type"),
];

#[test]
fn schemas_refuse_what_check_refuses() {
    let plant = Plant::new();
    let (schema, good) = (schema("asset_types"), plant.document("asset_types/pump.yaml"));
    let file = plant.catalog().join("asset_types/pump.yaml");
    for (right, wrong, said) in WRONG {
        assert!(good.contains(right), "{right}");
        let text_of = good.replacen(right, wrong, 1);
        let found = check(&yaml(&text_of), &schema);
        assert!(found.iter().any(|fault| fault.contains(said)), "{wrong}: {found:?}");
        fs::write(&file, text_of).unwrap();
        run(&["check", text(&plant.catalog())]).expect(4);
    }
}

#[tokio::test]
async fn telemetry_is_as_its_schema_says() {
    let plant = Plant::new();
    let server = plant.serve();
    let schema = schema("telemetry");
    for (body, good) in [
        (json!({"deviceId": "PUMP-1", "metrics": {"TEMP": 1}}), true),
        (json!([]), true),
        (
            json!([{"device": "PUMP-1", "metrics": {"TEMP": 1, "FLOW": null, "STATE": "on"}, "ts": BASE}]),
            true,
        ),
        (
            json!({"device_id": "PUMP-1", "time": "2023-11-14T22:13:20Z", "quality": "Bad", "metrics": {"TEMP": 2}, "site": 1}),
            true,
        ),
        (json!({"metrics": {"TEMP": 1}}), false),
        (json!({"deviceId": "PUMP-1"}), false),
        (json!({"deviceId": 1, "metrics": {"TEMP": 1}}), false),
        (json!({"deviceId": "PUMP-1", "metrics": [1]}), false),
        (json!({"deviceId": "PUMP-1", "metrics": {"TEMP": [1]}}), false),
        (json!({"deviceId": "PUMP-1", "metrics": {"TEMP": 1}, "timestamp": true}), false),
        (json!([{"deviceId": "PUMP-1", "metrics": {"TEMP": 1}}, 5]), false),
    ] {
        let answer = server.ingest(body.clone()).await;
        assert_eq!(answer["rejected"].as_array().unwrap().is_empty(), good, "{body}: {answer}");
        assert_eq!(check(&body, &schema).is_empty(), good, "{body}: {:?}", check(&body, &schema));
    }
}
