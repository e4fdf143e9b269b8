//! One batch through a resolver that has learned a small catalog.

use super::resolver::{Resolver, Unmapped};
use crate::dataflow::catalog::{News, Route};
use crate::dataflow::tests::{batch, document};
use crate::model::*;

const TYPE: &str = r#"{"apiVersion":"assets/v1","kind":"AssetTypeProfile","metadata":{"key":"t"},
    "metric_definitions":{"a":{"range":[0,10]},"b":{"type":"integer","range":[0,10]},
    "c":{"type":"bool"},"d":{"type":"string"},
    "e":{"unit":"K"},"f":{"unit":"mm","type":"integer"}},
    "transformation_engine":{"mappings":[{"target":"b","source":"count"},
    {"target":"f","source":"g","from_unit":"m"}]}}"#;

const DEVICE_TYPE: &str = r#"{"apiVersion":"devices/v1","kind":"DeviceTypeProfile",
    "metadata":{"key":"box"},"extraction_rules":[{"metric":"e","unit":"Cel"},{"metric":"g","unit":"s"},
    {"metric":"a","unit":"kg"}]}"#;

fn resolver(routes: &[(&str, u32)]) -> Resolver {
    let mut resolver = Resolver::default();
    let mut news = vec![(News::AssetType(document(Kind::AssetTypes, "t", 3, 1, Some(TYPE))), 1)];
    let device_type = document(Kind::DeviceTypes, "box", 0, 1, Some(DEVICE_TYPE));
    news.push((News::DeviceType(device_type), 1));
    for (device, asset) in routes {
        let (asset_type, device_type) = ("t".into(), "box".into());
        let route = Route { asset: *asset, asset_type, device: 40, device_type };
        news.push((News::Route((*device).into(), route), 1));
    }
    resolver.learn(news);
    resolver
}

const SLOTS: [DataType; 6] = [
    DataType::Double,
    DataType::Integer,
    DataType::Bool,
    DataType::String,
    DataType::Double,
    DataType::Integer,
];

/// Asset, slot, value and quality of each point, and the number of unmapped points.
type Found = (Vec<(u32, usize, Value, u32)>, u32);

fn resolve(resolver: &mut Resolver, name: &str, values: &[(&str, Value)]) -> Found {
    let data_type = |value: &Value| match value {
        Value::Double(_) => DataType::Double,
        Value::Integer(_) => DataType::Integer,
        Value::Bool(_) => DataType::Bool,
        Value::String(_) => DataType::String,
    };
    let metrics: Vec<_> = values.iter().map(|(name, value)| (*name, data_type(value))).collect();
    let cells: Vec<_> = values.iter().map(|(_, value)| value.clone()).enumerate().collect();
    let batch = batch(&metrics, &[(name, 5, 0, &cells)]);
    let mut unmapped = Unmapped::default();
    let mut found = Vec::new();
    for rows in resolver.resolve(&batch, &mut unmapped) {
        assert_eq!((rows.asset_type, rows.slots), (Some(TypeId(3)), 6));
        for i in 0..rows.len() {
            assert_eq!((rows.devices[i], rows.times[i], rows.messages[i]), (40, 5, 0));
            for (slot, data_type) in SLOTS.iter().enumerate() {
                let (word, quality) = (rows.words(i)[slot], rows.quality(i)[slot]);
                if rows.fresh(i)[0] >> slot & 1 == 1 {
                    found.push((rows.assets[i], slot, data_type.value(word), quality));
                } else {
                    assert_eq!((word, quality), (0, 0));
                }
            }
        }
    }
    (found, unmapped.into_outcomes().iter().map(|outcome| outcome.unmapped).sum())
}

fn check(input: (&str, Value), expected: Option<(usize, Value, u32)>) {
    let found = resolve(&mut resolver(&[("x", 7)]), "x", std::slice::from_ref(&input));
    let points: Vec<_> = expected.into_iter().map(|(s, v, q)| (7, s, v, q)).collect();
    let unmapped = u32::from(points.is_empty());
    assert_eq!(found, (points, unmapped), "{input:?}");
}

#[test]
fn values_become_the_metrics_type_or_are_unmapped() {
    use Value::*;
    let outside = Quality::OUT_OF_RANGE.0;
    check(("a", Double(1.5)), Some((0, Double(1.5), 0)));
    check(("a", Double(-0.5)), Some((0, Double(-0.5), outside)));
    check(("a", Integer(10)), Some((0, Double(10.0), 0)));
    check(("a", Integer(11)), Some((0, Double(11.0), outside)));
    check(("a", Bool(true)), None);
    check(("a", Double(f64::INFINITY)), None);
    check(("count", Integer(3)), Some((1, Integer(3), 0)));
    check(("count", Integer(-3)), Some((1, Integer(-3), outside)));
    check(("count", Double(4.0)), Some((1, Integer(4), 0)));
    check(("count", Double(4.5)), None);
    check(("b", Integer(3)), None);
    check(("c", Bool(true)), Some((2, Bool(true), 0)));
    check(("d", String("on".into())), Some((3, String("on".into()), 0)));
    check(("d", Integer(1)), None);
    check(("other", Double(1.0)), None);
}

#[test]
fn units_are_converted_and_the_mapping_knows_better_than_the_device_type() {
    use Value::*;
    check(("e", Double(26.85)), Some((4, Double(26.85 + 273.15), 0)));
    check(("e", Integer(1)), Some((4, Double(274.15), 0)));
    check(("g", Double(0.0125)), Some((5, Integer(13), 0)));
    check(("g", Integer(2)), Some((5, Integer(2000), 0)));
}

#[test]
fn a_device_with_several_links_feeds_each_asset_and_one_without_none() {
    let mut resolver = resolver(&[("x", 9), ("x", 2)]);
    let values = [("a", Value::Double(1.0)), ("odd", Value::Bool(true))];
    let point = |asset| (asset, 0, Value::Double(1.0), 0);
    assert_eq!(resolve(&mut resolver, "x", &values), (vec![point(2), point(9)], 1));
    assert_eq!(resolve(&mut resolver, "y", &values), (vec![], 2));
    assert_eq!(resolve(&mut resolver, "", &values), (vec![], 2));
}

#[test]
fn a_new_version_of_a_type_takes_the_place_of_the_old_one() {
    let mut resolver = resolver(&[("x", 1)]);
    let values = [("count", Value::Integer(1))];
    assert_eq!(resolve(&mut resolver, "x", &values).1, 0);
    let changed = TYPE.replace("\"source\":\"count\"", "\"source\":\"total\"");
    let old = document(Kind::AssetTypes, "t", 3, 1, Some(TYPE));
    let new = document(Kind::AssetTypes, "t", 3, 2, Some(&changed));
    resolver.learn(vec![(News::AssetType(new.clone()), 1), (News::AssetType(old), -1)]);
    assert_eq!(resolve(&mut resolver, "x", &values).1, 1);
    resolver.learn(vec![(News::AssetType(new), -1)]);
    let values = [("total", Value::Integer(1))];
    assert_eq!(resolve(&mut resolver, "x", &values), (vec![], 1));
}
