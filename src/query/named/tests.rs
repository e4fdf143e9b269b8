//! Headers, values and plans of named queries.

use super::*;
use crate::model::Timestamp;
use crate::query::{Kind, ParameterType};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

const TEXT: &str = "\
-- Mean of a metric of an asset.
--
-- What follows the title describes the query,
-- line by line.
--
-- param asset string: key of the asset
-- param from timestamp = -1h: from this time on
-- param to timestamp = 2025-03-01T12:00:00Z
-- param name string = \"two words\": quoted
-- param least double = null: leave out values below
-- example: asset=pump-7 from=2025-03-01
-- example: name=\"a b\" least=-1.5
select avg(value) as mean
from telemetry
where asset = $asset and event_time >= $from and event_time < $to
  and ($least is null or value >= $least) and metric <> $name
";

fn query() -> NamedQuery {
    read("mean", "mean.sql", TEXT).unwrap()
}

fn tables() -> Vec<(String, SchemaRef)> {
    let score = Field::new("score", DataType::Float64, true);
    let asset = Field::new("asset", DataType::Utf8, false);
    vec![("asset_health".into(), Arc::new(Schema::new(vec![asset, score])))]
}

#[test]
fn a_header_is_read() {
    let query = query();
    assert_eq!(query.title, "Mean of a metric of an asset");
    assert_eq!(query.description, "What follows the title describes the query,\nline by line.");
    let told: Vec<_> = query.parameters.iter().map(|p| (p.name.as_str(), &p.default)).collect();
    let text = |text: &str| Fallback::Text(text.into());
    let expected = [
        ("asset", &Fallback::Required),
        ("from", &text("-1h")),
        ("to", &text("2025-03-01T12:00:00Z")),
        ("name", &text("two words")),
        ("least", &Fallback::Null),
    ];
    assert_eq!(told, expected);
    assert_eq!(query.parameters[1].description, "from this time on");
    assert_eq!(query.parameters[1].kind, ParameterType::Timestamp);
    assert_eq!(query.example["name"], "a b");
    assert_eq!(query.example["least"], "-1.5");
    let (good, problems) = check(vec![query], &tables());
    assert_eq!((good.len(), problems), (1, vec![]));
}

#[test]
fn faults_are_told_with_their_place() {
    let told = |text: &str| -> String {
        let problems = match read("q", "q.sql", text) {
            Ok(query) => check(vec![query], &tables()).1,
            Err(problems) => problems,
        };
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for (text, expected) in [
        ("select 1", "q.sql:1:1: the query has no title"),
        ("-- t\n-- param a\nselect 1", "q.sql:2:1: 'param a' declares no parameter"),
        ("-- t\n-- param format string\nselect 1", "q.sql:2:1: 'format' is no name of a param"),
        ("-- t\n-- param a text\nselect $a", "q.sql:2:1: 'text' is no type; types: string, double"),
        ("-- t\n-- param A string\nselect 1", "q.sql:2:1: 'param A string' declares no parameter"),
        (
            "-- t\n-- param a string = b\n-- param a string = b\nselect $a",
            "q.sql:3:1: parameter 'a' is there twice",
        ),
        (
            "-- t\n-- param a integer = 1.5\nselect $a",
            "q.sql:1:1: '1.5' as default of 'a' has another type; give a whole number",
        ),
        ("-- t\n-- param a string\nselect $a", "q.sql:1:1: no example value for 'a'"),
        ("-- t\n-- example: b=1\nselect 1", "the example has a value for 'b'"),
        ("-- t\n-- example: b\nselect 1", "q.sql:2:1: 'example: b' is no example"),
        (
            "-- t\n-- param a string = x\nselect 1",
            "q.sql:3:1: parameter: parameter 'a' is declared but not used; write $a",
        ),
        ("-- t\nselect 1,\n  $a", "parameter: '$a' is no parameter"),
        ("-- t\nselect scor\nfrom asset_health", "q.sql:2:8: unknown column: 'scor'"),
        (
            "-- t\nselect 1\nfrom asset_helth",
            "q.sql:3:6: unknown table 'asset_helth'; did you mean 'asset_health'? tables: asset",
        ),
        ("-- t\nselect\n  from from", "q.sql:3:"),
        ("-- t\ndelete from asset_health", "q.sql:2:1: refused: DELETE"),
        ("-- t\nselect 1;\nselect 2", "refused: more than one statement"),
        ("-- t\nselect score + asset['x'] from asset_health", "q.sql:2:"),
    ] {
        let said = told(text);
        assert!(said.contains(expected), "{text}\n{said}\nnot {expected}");
    }
    assert!(read("Bad-Name", "Bad-Name.sql", TEXT).is_err());
}

#[test]
fn values_are_read_by_type() {
    let now = Timestamp(1_700_000_000_000_000);
    let read = |kind: ParameterType, text: &str| kind.read(text, now).map(|v| v.to_string());
    let time = |text: &str| read(ParameterType::Timestamp, text);
    let at = |text: &str| Some(Timestamp::parse(text).unwrap().0.to_string());
    for (text, expected) in [
        ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z"),
        ("2023-11-15T00:13:20+02:00", "2023-11-14T22:13:20Z"),
        ("2023-11-14T22:13:20", "2023-11-14T22:13:20Z"),
        ("2023-11-14", "2023-11-14T00:00:00Z"),
        ("1699999999000", "2023-11-14T22:13:19Z"),
        ("now", "2023-11-14T22:13:20Z"),
        ("-1h", "2023-11-14T21:13:20Z"),
        ("now-PT90S", "2023-11-14T22:11:50Z"),
        ("now + 1m", "2023-11-14T22:14:20Z"),
        ("-7d", "2023-11-07T22:13:20Z"),
        ("PT6H", "2023-11-14T16:13:20Z"),
    ] {
        assert_eq!(time(text), at(expected), "{text}");
    }
    for (kind, bad) in [
        (ParameterType::Timestamp, vec!["", "noon", "1h", "nowish", "-", "--1h", "-1mo", "NaN"]),
        (ParameterType::Double, vec!["", "x", "NaN", "inf", "1e999", "1,5"]),
        (ParameterType::Integer, vec!["", "1.5", "9223372036854775808"]),
        (ParameterType::Bool, vec!["", "yes", "1"]),
        (ParameterType::Duration, vec!["", "-1s", "1", "P1M", "9999999999999d"]),
    ] {
        for text in bad {
            assert_eq!(read(kind, text), None, "{kind:?} {text}");
        }
    }
    assert_eq!(read(ParameterType::String, "' or 1=1 --").as_deref(), Some("' or 1=1 --"));
    assert_eq!(read(ParameterType::Double, "-1e3").as_deref(), Some("-1000"));
}

#[test]
fn what_is_given_must_fit() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let refused = |given: &[(String, String)]| {
        let error = Values::of(&query(), given, Timestamp(0)).unwrap_err();
        assert_eq!(error.kind(), Kind::Parameter);
        format!("{error}; {}", error.hint().unwrap_or_default())
    };
    let wants = "parameters: asset string, from timestamp (-1h when left out), ";
    let missing = refused(&[]);
    assert!(missing.contains("'asset' is missing") && missing.contains(wants), "{missing}");
    let unknown = refused(&[pair("asset", "a"), pair("form", "now")]);
    assert!(unknown.contains("no parameter 'form'") && unknown.contains(wants), "{unknown}");
    let twice = refused(&[pair("asset", "a"), pair("asset", "b")]);
    assert!(twice.contains("given twice"), "{twice}");
    let typed = refused(&[pair("asset", "a"), pair("least", "low")]);
    assert!(typed.contains("'least' is 'low', not a number"), "{typed}");
    assert!(Values::of(&query(), &[pair("asset", "a")], Timestamp(0)).is_ok());
}
