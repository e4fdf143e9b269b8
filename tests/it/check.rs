//! `millstream check`: every kind of mistake is told with its place.

use crate::support::*;
use std::fs;

#[test]
fn check_finds_every_kind_of_mistake() {
    let plant = Plant::new();
    let good = run(&["check", plant.catalog().to_str().unwrap()]).expect(0);
    assert!(good.out.contains("5 documents, 0 problems, 2 tests, 0 failed"), "{}", good.out);

    let head = |key: &str| {
        format!(
            "apiVersion: assets/v1\nkind: AssetTypeProfile\nmetadata: {{key: {key}}}\n\
             metric_definitions:\n  temperature: {{unit: Cel}}\n  pressure: {{unit: bar}}\n"
        )
    };
    // Folder and name, what stands behind the head in line 7, and what is said after the name.
    let types = [
        (
            "a",
            "threshold_rule: []",
            ":7:1: threshold_rule: unknown key 'threshold_rule' in an asset type; did you mean 'threshold_rules'?",
        ),
        (
            "b",
            "threshold_rules: [{id: hot, metric: temperature, levels: {warning: {op: gt, value: 1, latched: true}}}]",
            ":7:87: threshold_rules[0].levels.warning.latched: not supported yet: latched",
        ),
        (
            "c",
            "transformation_engine: {derived: {a: {expr: \"b + 1\"}, b: {expr: \"a + 1\"}}}",
            ":7:35: transformation_engine.derived.a: derived metrics go round in a circle: a -> b -> a",
        ),
        (
            "d",
            "threshold_rules: [{id: hot, metric: temprature, levels: {warning: {op: gt, value: 1}}}]",
            ":7:29: threshold_rules[0].metric: unknown metric 'temprature'; did you mean 'temperature'?",
        ),
        (
            "e",
            "transformation_engine: {mappings: [{target: temperature, source: T, from_unit: bar}]}",
            ":7:69: transformation_engine.mappings[0].from_unit: 'bar' cannot be converted to 'Cel'",
        ),
        (
            "f",
            "health_algorithm: {type: worst_of}",
            ":7:20: health_algorithm.type: not supported yet: worst_of",
        ),
        (
            "g",
            "event_rules: [{id: e, when: \"temperature > \", event_type: x}]",
            ":7:23: event_rules[0].when: expression 'temperature > '",
        ),
        ("h", "time: {hot_horizon: soon}", ":7:8: time.hot_horizon: 'soon' is not a duration"),
        (
            "i",
            "tests: [{name: t, given: {temperature: 1}, expect: {temprature: 1}}]",
            ":7:53: tests[0].expect.temprature: unknown metric 'temprature'",
        ),
    ];
    let folder = plant.path("wrong");
    for kind in ["asset_types", "device_types", "assets", "devices", "links"] {
        fs::create_dir_all(folder.join(kind)).unwrap();
    }
    let mut expected = Vec::new();
    let mut write = |name: &str, text: String, said: &str| {
        fs::write(folder.join(name), text).unwrap();
        expected.push(format!("{}{said}", folder.join(name).display()));
    };
    for (key, line, said) in types {
        write(&format!("asset_types/{key}.yaml"), format!("{}{line}\n", head(key)), said);
    }
    write("asset_types/j.yaml", "apiVersion: [assets/v1\n".into(), ":1:13: unclosed bracket");
    write("asset_types/k.yaml", head("k"), "");
    write("asset_types/l.yaml", head("k"), ":1:1: the key 'k' is in ");
    let box_type = "apiVersion: devices/v1\nkind: DeviceTypeProfile\nmetadata: {key: box}\nidentity: {id_pattern: '(['}\n";
    write(
        "device_types/m.yaml",
        box_type.into(),
        ":4:12: identity.id_pattern: '([' is no regular expression",
    );
    let gateway = "apiVersion: devices/v1\nkind: DeviceTypeProfile\nmetadata: {key: gate}\nprocessing_mode: gateway\n";
    write(
        "device_types/n.yaml",
        gateway.into(),
        ":4:1: processing_mode: not supported yet: gateway",
    );
    write(
        "assets/o.yaml",
        "{key: lost, asset_type: nowhere}\n".into(),
        ":1:1: asset_type: there is no asset type 'nowhere'",
    );
    let nowhere = "{device: none, asset: lost}\n";
    write("links/p.yaml", nowhere.into(), ":1:1: device: there is no device 'none'");
    write("links/p.yaml", nowhere.into(), ":1:1: asset: there is no asset 'lost'");
    expected.retain(|line| !line.ends_with("k.yaml"));

    let checked = run(&["check", folder.to_str().unwrap()]).expect(4);
    for line in &expected {
        assert!(
            checked.out.lines().any(|said| said.starts_with(line)),
            "no line '{line}' in\n{}",
            checked.out
        );
    }
    let count = format!("{} problems", expected.len());
    assert!(checked.out.contains(&count), "{count}:\n{}", checked.out);
}

#[test]
fn check_runs_the_tests_of_documents() {
    let plant = Plant::new();
    let path = plant.catalog().join("asset_types/pump.yaml");
    let text =
        plant.document("asset_types/pump.yaml").replace("expect_health: 30", "expect_health: 31");
    fs::write(path, text).unwrap();
    let checked = run(&["check", plant.catalog().to_str().unwrap()]).expect(4);
    assert!(
        checked.out.contains("test 'a hot pump that tripped is critical' fails"),
        "{}",
        checked.out
    );
    assert!(checked.out.contains("0 problems, 2 tests, 1 failed"), "{}", checked.out);
    let nowhere = plant.path("nowhere");
    let missing = run(&["check", nowhere.to_str().unwrap()]).expect(1);
    assert!(missing.err.contains("is no folder"), "{}", missing.err);
}

#[test]
fn check_warns_of_a_device_type_that_takes_nothing() {
    let plant = Plant::new();
    let path = plant.catalog().join("device_types/mute.yaml");
    let mute = "apiVersion: devices/v1\nkind: DeviceTypeProfile\nmetadata: {key: mute}\n";
    fs::write(&path, mute).unwrap();
    let checked = run(&["check", text(&plant.catalog())]).expect(0);
    let warning = format!(
        "warning: {}:1:1: extraction_rules: devices of this type send nothing",
        path.display()
    );
    assert!(checked.out.lines().any(|line| line.starts_with(&warning)), "{}", checked.out);
    assert!(checked.out.contains("6 documents, 0 problems, 2 tests, 0 failed"), "{}", checked.out);
}
