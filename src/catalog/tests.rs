//! Bad documents give exact problems; good ones keep their ids; the shipped ones are valid.

use super::*;
use crate::model::{Document, Kind, NewDocument, Timestamp};
use std::path::Path;

mod checks;

/// What the clock says when documents are published.
const NOW: Timestamp = Timestamp(1_767_225_600_000_000);

/// A small asset type; tests replace one line of it.
const PUMP: &str = r#"apiVersion: assets/v1
kind: AssetTypeProfile
metadata: {key: pump}
time: {out_of_order: PT5S}
metric_definitions:
  p_in: {unit: bar, range: [0, 10]}
  p_out: {unit: bar}
  state: {type: string}
transformation_engine:
  mappings:
    - {target: p_in, source: pi, from_unit: kPa}
  derived:
    dp: {expr: "p_out - p_in", unit: bar}
    half: {expr: "dp / 2"}
aggregation_rules:
  - {key: minutes, metric: "*", window: {tumbling: PT1M}}
health_algorithm:
  type: weighted_deductions
  rules:
    - {id: low, group: flow, when: "dp < 1", deduct: 20}
    - {id: slope, metric: dp, ramp: {from: {at: 1}, to: {at: 0, deduct: 30}}}
  group_caps: {flow: 30}
threshold_rules:
  - id: high
    metric: p_in
    levels:
      warning: {op: gt, value: 5, deadband: {abs: 1}, on_delay: PT5S}
  - id: stopped
    expr: "state = 'off'"
    levels: {critical: {on_delay: PT5S}}
event_rules:
  - {id: trip, when: "dp < 0", event_type: pump.trip, message: "{{asset}} at {{metrics.dp|1}}"}
tests:
  - {name: drop, given: {pi: 100, p_out: 3}, expect: {dp: 2}, expect_health: 100}
"#;

const GAUGE: &str = r"apiVersion: devices/v1
kind: DeviceTypeProfile
metadata: {key: gauge}
identity:
  id_pattern: 'G-(\d+)'
  provision: {asset_type: pump, asset: pump-$1}
extraction_rules:
  - {metric: pi, type: double, unit: kPa}
  - {metric: p_out, unit: bar}
";

fn problems(kind: Kind, yaml: &str) -> String {
    match parse_yaml(kind, "f", yaml) {
        Ok(_) => "valid".into(),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        }
    }
}

/// The problems of the small asset type with one part of its text replaced.
#[track_caller]
fn check(part: &str, replacement: &str, expected: &str) {
    assert_eq!(PUMP.matches(part).count(), 1, "{part} must stand there once");
    let found = problems(Kind::AssetTypes, &PUMP.replace(part, replacement));
    assert_eq!(found, expected, "{part} -> {replacement}");
}

#[track_caller]
fn check_gauge(part: &str, replacement: &str, expected: &str) {
    assert_eq!(GAUGE.matches(part).count(), 1, "{part} must stand there once");
    let found = problems(Kind::DeviceTypes, &GAUGE.replace(part, replacement));
    assert_eq!(found, expected, "{part} -> {replacement}");
}

#[track_caller]
fn told(kind: Kind, yaml: &str, expected: &str) {
    let found = problems(kind, yaml);
    assert_eq!(found, expected);
}

fn document(kind: Kind, yaml: &str) -> NewDocument {
    let mut documents = parse_yaml(kind, "f", yaml).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn asset(key: &str) -> NewDocument {
    document(Kind::Assets, &format!("{{key: {key}, asset_type: pump}}"))
}

fn device(key: &str) -> NewDocument {
    document(Kind::Devices, &format!("{{key: {key}, device_type: gauge}}"))
}

fn link(device: &str, asset: &str) -> NewDocument {
    document(Kind::Links, &format!("{{device: {device}, asset: {asset}}}"))
}

fn delete(kind: Kind, key: &str) -> NewDocument {
    NewDocument { kind, key: key.into(), body: None }
}

/// Assigns and applies; the document, or the problems as text.
fn publish(catalog: &mut Catalog, new: &NewDocument) -> Result<Option<Document>, String> {
    let text = |problems: Vec<Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let assigned = catalog.assign(new, NOW).map_err(text)?;
    if let Some(document) = &assigned {
        catalog.apply(document).map_err(text)?;
    }
    Ok(assigned)
}

fn plant() -> Catalog {
    let mut catalog = Catalog::new();
    for new in [
        document(Kind::AssetTypes, PUMP),
        document(Kind::DeviceTypes, GAUGE),
        asset("a"),
        asset("b"),
        device("G-1"),
        link("G-1", "a"),
    ] {
        publish(&mut catalog, &new).unwrap().unwrap();
    }
    catalog
}

fn refused(new: &NewDocument, expected: &str) {
    assert_eq!(publish(&mut plant(), new).unwrap_err(), expected);
}

#[test]
fn bodies_survive_a_round_trip() {
    for (kind, yaml) in [(Kind::AssetTypes, PUMP), (Kind::DeviceTypes, GAUGE)] {
        let once = document(kind, yaml);
        let twice = document(kind, once.body.as_deref().unwrap());
        assert_eq!(once, twice);
    }
    let catalog = plant();
    let entry = catalog.asset_type_named("pump").unwrap();
    let names: Vec<&str> = entry.layout.slots.iter().map(|slot| slot.name.as_str()).collect();
    assert_eq!(names, ["p_in", "p_out", "state", "dp", "half"]);
}

#[test]
fn every_key_of_the_structs_is_in_the_shapes() {
    let mut document: asset_type::AssetType =
        serde_json::from_str(document(Kind::AssetTypes, PUMP).body.as_deref().unwrap()).unwrap();
    document.metadata.version = Some(3);
    document.metadata.display_name = Some("Pump".into());
    document.tests[0].series.insert("pi".into(), vec![(0.0, asset_type::Literal::Number(1.0))]);
    let json = serde_json::to_string(&document).unwrap();
    assert_eq!(problems(Kind::AssetTypes, &json), "valid");
}

#[test]
fn ids_are_dense_and_versions_count() {
    let mut catalog = plant();
    let ids = |catalog: &Catalog| -> Vec<(Kind, String, u32, u32)> {
        catalog.documents().map(|d| (d.kind, d.key.to_string(), d.id, d.version)).collect()
    };
    assert_eq!(publish(&mut catalog, &asset("a")).unwrap(), None, "nothing changes");
    assert_eq!(publish(&mut catalog, &delete(Kind::Assets, "c")).unwrap(), None);
    publish(&mut catalog, &delete(Kind::Assets, "b")).unwrap().unwrap();
    assert!(catalog.asset_named("b").is_none());
    let c = publish(&mut catalog, &asset("c")).unwrap().unwrap();
    assert_eq!((c.id, c.version), (2, 1), "ids are not used again");
    let b = publish(&mut catalog, &asset("b")).unwrap().unwrap();
    assert_eq!((b.id, b.version), (1, 3), "a key keeps its id");
    let assets: Vec<&str> = catalog.assets().map(|asset| asset.key.as_ref()).collect();
    assert_eq!(assets, ["a", "b", "c"]);
    assert_eq!(ids(&catalog).len(), 7);
    let wrong = Document { id: 9, ..c };
    assert!(catalog.apply(&wrong).is_err());
}

#[test]
fn replaying_the_documents_gives_the_same_catalog() {
    let seed = 0x5eed_0002_u64;
    println!("seed {seed:#x}");
    let mut state = seed;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut catalog = plant();
    let mut log: Vec<Document> = catalog.documents().cloned().collect();
    for _ in 0..500 {
        let key = format!("G-{}", random(20));
        let name = format!("x{}", random(20));
        let new = match random(6) {
            0 => asset(&name),
            1 => device(&key),
            2 => link(&key, &name),
            3 => delete(Kind::Links, &device_type::Link::key(&key, &name)),
            4 => delete(Kind::Devices, &key),
            _ => delete(Kind::Assets, &name),
        };
        if let Ok(Some(document)) = publish(&mut catalog, &new) {
            log.push(document);
        }
    }
    let mut again = Catalog::new();
    for document in &log {
        again.apply(document).unwrap();
    }
    let documents: Vec<&Document> = catalog.documents().collect();
    assert_eq!(documents, again.documents().collect::<Vec<_>>(), "seed {seed:#x}");
    for device in catalog.devices() {
        let links: Vec<_> = catalog.links_of(&device.key).collect();
        assert_eq!(links, again.links_of(&device.key).collect::<Vec<_>>(), "seed {seed:#x}");
    }
}

#[test]
fn a_restored_catalog_goes_on_like_the_one_that_was_saved() {
    let mut catalog = plant();
    for new in [
        asset("c"),
        device("G-2"),
        link("G-2", "c"),
        delete(Kind::Assets, "b"),
        delete(Kind::Links, &device_type::Link::key("G-2", "c")),
        document(Kind::DeviceTypes, &GAUGE.replace("unit: bar", "unit: kPa")),
    ] {
        publish(&mut catalog, &new).unwrap().unwrap();
    }
    let mut again = Catalog::restore(catalog.saved()).unwrap();
    let documents: Vec<&Document> = catalog.documents().collect();
    assert_eq!(documents, again.documents().collect::<Vec<_>>());
    let unit = |catalog: &Catalog| {
        let device = catalog.device_named("G-1").unwrap();
        device.device_type.document.unit_of("p_out").map(str::to_owned)
    };
    assert_eq!((unit(&again), unit(&catalog)), (Some("kPa".into()), Some("kPa".into())));
    assert_eq!(again.links_of("G-1").count(), 1);
    for new in [
        asset("b"),
        asset("d"),
        link("G-2", "c"),
        delete(Kind::Assets, "a"),
        delete(Kind::Links, &device_type::Link::key("G-1", "a")),
        delete(Kind::Assets, "a"),
        asset("a"),
    ] {
        assert_eq!(publish(&mut again, &new), publish(&mut catalog, &new), "{new:?}");
    }
    assert_eq!(again.saved(), catalog.saved());
    let mut wrong = catalog.saved();
    wrong.0.swap(2, 3);
    assert!(Catalog::restore(wrong).is_err());
}

#[test]
fn references_must_hold() {
    refused(
        &document(Kind::Assets, "{key: x, asset_type: pomp}"),
        "asset_type: there is no asset type 'pomp'; did you mean 'pump'?",
    );
    refused(
        &document(Kind::Devices, "{key: x, device_type: meter}"),
        "device_type: there is no device type 'meter'",
    );
    refused(&link("G-2", "z"), "device: there is no device 'G-2'\nasset: there is no asset 'z'");
    refused(
        &delete(Kind::AssetTypes, "pump"),
        "still used by device type 'gauge', asset 'a', asset 'b'; delete those first",
    );
    refused(&delete(Kind::DeviceTypes, "gauge"), "still used by device 'G-1'; delete those first");
    refused(&delete(Kind::Assets, "a"), "still used by link 'G-1->a'; delete those first");
    let other = NewDocument { key: "other".into(), ..asset("x") };
    refused(&other, "the document's key is 'x', expected 'other'");
    let broken = NewDocument { body: Some("{".into()), ..asset("x") };
    refused(&broken, "EOF while parsing an object at line 1 column 1");
    refused(
        &document(Kind::DeviceTypes, &GAUGE.replace("p_out, unit: bar", "p_out, unit: Cel")),
        "extraction_rules[1]: metric 'p_out' of asset type 'pump' from 'p_out' of device type \
         'gauge': 'Cel' cannot be converted to 'bar': they measure different things",
    );
    refused(
        &document(
            Kind::AssetTypes,
            &PUMP
                .replace("p_out: {unit: bar}", "p_out: {unit: K}")
                .replace("unit: bar}\n    half", "type: double}\n    half"),
        ),
        "metric_definitions.p_out: metric 'p_out' of asset type 'pump' from 'p_out' of device \
         type 'gauge': 'bar' cannot be converted to 'K': they measure different things",
    );
}

#[test]
fn unknown_devices_are_provisioned_by_their_id() {
    let mut catalog = plant();
    assert!(catalog.provision("G-1").is_none(), "it is known");
    assert!(catalog.provision("xG-7").is_none(), "the whole id must match");
    let documents = catalog.provision("G-7").unwrap();
    let keys: Vec<(Kind, &str)> = documents.iter().map(|d| (d.kind, d.key.as_ref())).collect();
    assert_eq!(
        keys,
        [(Kind::Devices, "G-7"), (Kind::Assets, "pump-7"), (Kind::Links, "G-7->pump-7")]
    );
    for new in &documents {
        assert!(publish(&mut catalog, new).unwrap().is_some());
    }
    let link = catalog.links_of("G-7").next().unwrap();
    assert_eq!(catalog.asset(link.asset).unwrap().key.as_ref(), "pump-7");
    assert_eq!(catalog.device(link.device).unwrap().device_type.key.as_ref(), "gauge");
    publish(&mut catalog, &delete(Kind::Links, "G-7->pump-7")).unwrap();
    publish(&mut catalog, &delete(Kind::Devices, "G-7")).unwrap();
    assert_eq!(catalog.provision("G-7").unwrap().len(), 2, "the asset is there");
}

#[test]
fn a_new_version_of_a_type_reaches_its_devices() {
    let mut catalog = plant();
    let new = document(Kind::DeviceTypes, &GAUGE.replace("unit: bar", "unit: Pa"));
    publish(&mut catalog, &new).unwrap().unwrap();
    let device = catalog.device_named("G-1").unwrap();
    assert_eq!(device.device_type.version, 2);
    assert_eq!(device.device_type.document.unit_of("p_out"), Some("Pa"));
}

#[test]
fn shipped_documents_are_valid() {
    for (folder, device, asset, asset_type) in [
        ("dataflows", "WELL-00011", "WELL-00011", "oil_well"),
        ("benches/asset_telemetry", "dev-00000", "asset-00000", "t0"),
        ("benches/asset_telemetry", "dev-00013", "asset-00013", "t1"),
        ("benches/asset_telemetry", "dev-09998", "asset-09998", "t2"),
        ("benches/asset_telemetry", "dev-12347", "asset-12347", "t3"),
    ] {
        let (documents, problems) =
            read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert_eq!(problems, [], "{folder}");
        let documents: Vec<NewDocument> = documents.into_iter().map(|file| file.document).collect();
        for new in &documents {
            let again = parse_yaml(new.kind, "body", new.body.as_deref().unwrap()).unwrap();
            assert_eq!(again, std::slice::from_ref(new), "the body is canonical");
        }
        let mut catalog = Catalog::new();
        for new in &documents {
            publish(&mut catalog, new).unwrap().unwrap();
        }
        for new in catalog.provision(device).unwrap() {
            publish(&mut catalog, &new).unwrap().unwrap();
        }
        let entry = catalog.asset_named(asset).unwrap();
        let asset_type = catalog.asset_type_named(asset_type).unwrap();
        assert_eq!(entry.asset_type, asset_type.id, "{device}");
    }
}

#[test]
fn bench_devices_are_of_one_type_each() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/asset_telemetry");
    let mut catalog = Catalog::new();
    for new in read_folder(&folder).0 {
        publish(&mut catalog, &new.document).unwrap();
    }
    for number in 0..200 {
        let device = format!("dev-{number:05}");
        let matching: Vec<&str> = catalog
            .device_types()
            .filter(|entry| entry.id_pattern.as_ref().is_some_and(|p| p.is_match(&device)))
            .map(|entry| entry.key.as_ref())
            .collect();
        assert_eq!(matching, [format!("d{}", number % 4)], "{device}");
    }
}

#[test]
fn folders_are_read_in_order_and_keys_are_unique() {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("links/l.yaml", "{device: G-1, asset: a}"),
        ("devices/d.yaml", "- {key: G-1, device_type: gauge}\n- {key: G-1, device_type: gauge}\n"),
        ("assets/a.yml", "- {key: a, asset_type: pump}\n- {key: b, asset_type: 5}\n"),
        ("assets/b.yaml", "{key: a, asset_type: pump}"),
        ("asset_types/pump.yaml", PUMP),
        ("device_types/gauge.yaml", GAUGE),
        ("notes/readme.txt", "no document"),
    ] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let (documents, problems) = read_folder(dir.path());
    let kinds: Vec<Kind> = documents.iter().map(|file| file.document.kind).collect();
    assert_eq!(kinds, Kind::ALL);
    let root = dir.path().display().to_string();
    let problems: Vec<String> =
        problems.iter().map(|problem| problem.to_string().replace(&root, "")).collect();
    assert_eq!(
        problems,
        [
            "/assets/a.yml:2:12: [1].asset_type: expected a text, found the number 5; put it in quotes",
            "/assets/b.yaml:1:1: the key 'a' is in /assets/a.yml already",
            "/devices/d.yaml:2:3: the key 'G-1' is there twice",
        ]
    );
    assert!(!read_folder(&dir.path().join("nowhere")).1.is_empty());
}

#[test]
fn a_large_catalog_costs_the_same_for_every_document() {
    let mut catalog = plant();
    let started = std::time::Instant::now();
    for i in 0..3_000 {
        for new in catalog.provision(&format!("G-{}", 100 + i)).unwrap() {
            publish(&mut catalog, &new).unwrap();
        }
    }
    let first = started.elapsed();
    for i in 3_000..30_000 {
        for new in catalog.provision(&format!("G-{}", 100 + i)).unwrap() {
            publish(&mut catalog, &new).unwrap();
        }
    }
    let all = started.elapsed();
    println!("3,000 devices {first:?}, 30,000 devices {all:?}");
    assert!(all < first * 40, "{first:?} for 3,000, {all:?} for 30,000");
    assert_eq!(catalog.devices().count(), 30_001);
}

#[test]
fn a_new_version_holds_from_its_publication_unless_it_says_an_earlier_time() {
    let mut catalog = plant();
    let mut version = |text: &str| publish(&mut catalog, &document(Kind::AssetTypes, text));
    let from = |published: Result<Option<Document>, String>| published.unwrap().unwrap();
    let changed = from(version(&PUMP.replace("dp < 1", "dp < 2")));
    assert_eq!((changed.version, changed.effective_from), (2, NOW));
    let past = PUMP.replace(
        "out_of_order: PT5S",
        "out_of_order: PT5S, effective_from: 2025-12-01T01:00:00+01:00",
    );
    let expected = Timestamp::parse("2025-12-01T00:00:00Z").unwrap();
    assert_eq!(from(version(&past)).effective_from, expected);
    let future = PUMP
        .replace("out_of_order: PT5S", "out_of_order: PT5S, effective_from: 2027-01-01T00:00:00Z");
    let error = version(&future).unwrap_err();
    assert!(error.contains("time.effective_from") && error.contains("future"), "{error}");
    let replaced: Vec<u32> = catalog.replaced_versions().map(|document| document.version).collect();
    assert_eq!(replaced, [1, 2]);
}
