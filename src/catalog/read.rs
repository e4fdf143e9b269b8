//! From YAML (or JSON, which is YAML) to documents with canonical JSON bodies.

use super::asset_type::AssetType;
use super::check::{asset_type, plain_key, thing_key};
use super::device_type::{Asset, Device, DeviceType, Link};
use super::problem::Problem;
use super::shape::Checker;
use super::shapes;
use super::units;
use super::yaml::{self, Content, Node, element, member};
use crate::model::{Kind, NewDocument};
use regex::Regex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::sync::Arc;

/// The most bytes of a document, as text and as canonical JSON.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// The most bytes of a file with a list of assets, devices or links.
pub const MAX_LIST_BYTES: usize = 64 * 1024 * 1024;
/// How deep a document may be nested.
pub const MAX_DEPTH: usize = 32;
/// The most metrics of an asset type, measured and derived, and of a device type.
pub const MAX_METRICS: usize = 256;

/// Reads the documents of one file: one of a type, any number of assets, devices and links.
///
/// All problems are found, not only the first, each with its line and column. What depends on
/// other documents is checked by [`super::Catalog::assign`].
pub fn parse_yaml(kind: Kind, file: &str, text: &str) -> Result<Vec<NewDocument>, Vec<Problem>> {
    let (documents, problems) = parse(kind, file, text);
    if problems.is_empty() {
        Ok(documents.into_iter().map(|parsed| parsed.document).collect())
    } else {
        Err(problems)
    }
}

/// A document and where it begins.
pub(super) struct Parsed {
    pub document: NewDocument,
    pub place: yaml::Place,
}

/// The good documents of a file, and all problems.
pub(super) fn parse(kind: Kind, file: &str, text: &str) -> (Vec<Parsed>, Vec<Problem>) {
    let file: Arc<str> = file.into();
    let lists = !matches!(kind, Kind::AssetTypes | Kind::DeviceTypes);
    let limit = if lists { MAX_LIST_BYTES } else { MAX_DOCUMENT_BYTES };
    let in_file = |problem: Problem| Problem { file: Some(Arc::clone(&file)), ..problem };
    if text.len() > limit {
        let message = format!("the file has {} bytes, the limit is {limit}", text.len());
        return (Vec::new(), vec![in_file(Problem::at("", message))]);
    }
    let root = match yaml::parse(text, MAX_DEPTH) {
        Ok(root) => root,
        Err(problem) => return (Vec::new(), vec![in_file(problem)]),
    };
    let mut parsed = Vec::new();
    let mut problems = Vec::new();
    match &root.content {
        Content::List(items) if lists => {
            for (i, item) in items.iter().enumerate() {
                one(kind, item, &element("", i), &mut parsed, &mut problems);
            }
        }
        _ => one(kind, &root, "", &mut parsed, &mut problems),
    }
    let mut seen = HashSet::new();
    parsed.retain(|parsed: &Parsed| {
        let fresh = seen.insert(Arc::clone(&parsed.document.key));
        if !fresh {
            let message = format!("the key '{}' is there twice", parsed.document.key);
            let (line, column) = parsed.place;
            problems.push(Problem {
                line: Some(line),
                column: Some(column),
                ..Problem::at("", message)
            });
        }
        fresh
    });
    (parsed, problems.into_iter().map(in_file).collect())
}

fn one(kind: Kind, node: &Node, path: &str, parsed: &mut Vec<Parsed>, problems: &mut Vec<Problem>) {
    let mut checker = Checker { problems: Vec::new() };
    let json = checker.value(node, &shapes::of(kind), path, node.place);
    let shape_is_right = checker.problems.is_empty();
    let mut found = checker.problems;
    if let Some(json) = json {
        match check_body(kind, &json) {
            Ok((key, body)) if shape_is_right => {
                let document = NewDocument { kind, key, body: Some(body) };
                parsed.push(Parsed { document, place: node.place });
            }
            Ok(_) => {}
            Err(semantic) => {
                let told: Vec<String> = found.iter().map(|problem| problem.path.clone()).collect();
                for mut problem in semantic {
                    problem.path = match problem.path.as_str() {
                        "" => path.to_owned(),
                        below => member(path, below),
                    };
                    if !follows(&problem.path, &told) {
                        found.push(problem);
                    }
                }
            }
        }
    }
    if found.is_empty() {
        return;
    }
    let places = node.places();
    let below = |path_of: &str| {
        path_of.strip_prefix(path).unwrap_or(path_of).trim_start_matches('.').to_owned()
    };
    for mut problem in found {
        if problem.line.is_none() {
            let (line, column) = locate(&places, &below(&problem.path)).unwrap_or(node.place);
            (problem.line, problem.column) = (Some(line), Some(column));
        }
        problems.push(problem);
    }
}

/// Whether a problem follows from problems of shape that were told: it is about a part that
/// contains one or stands beside one, or the metrics themselves are not as they were meant.
fn follows(path: &str, told: &[String]) -> bool {
    told.iter().any(|told| {
        let parent = told.rfind(['.', '[']).map_or("", |end| &told[..end]);
        told.starts_with(path)
            || (!parent.is_empty() && path.starts_with(parent))
            || (told.starts_with("health_algorithm") && path.ends_with(".expect_health"))
            || told.contains("metric_definitions.")
            || told.contains("transformation_engine.derived.")
    })
}

/// The place of a path, or of the nearest one above it that is in the file.
fn locate(
    places: &std::collections::HashMap<String, yaml::Place>,
    path: &str,
) -> Option<yaml::Place> {
    let mut path = path;
    loop {
        if let Some(place) = places.get(path) {
            return Some(*place);
        }
        let end = path.rfind(['.', '['])?;
        path = &path[..end];
    }
}

/// Checks a body by itself, and gives its key and its canonical form.
pub(super) fn check_body(kind: Kind, json: &str) -> Result<(Arc<str>, Arc<str>), Vec<Problem>> {
    match kind {
        Kind::AssetTypes => {
            let document: AssetType = typed(json)?;
            let problems = asset_type(&document);
            finish(&document.metadata.key, &document, problems)
        }
        Kind::DeviceTypes => {
            let document: DeviceType = typed(json)?;
            let problems = device_type(&document);
            finish(&document.metadata.key, &document, problems)
        }
        Kind::Assets => {
            let document: Asset = typed(json)?;
            finish(&document.key, &document, thing(&[("key", &document.key)]))
        }
        Kind::Devices => {
            let document: Device = typed(json)?;
            finish(&document.key, &document, thing(&[("key", &document.key)]))
        }
        Kind::Links => {
            let document: Link = typed(json)?;
            let problems = thing(&[("device", &document.device), ("asset", &document.asset)]);
            finish(&Link::key(&document.device, &document.asset), &document, problems)
        }
    }
}

/// The typed form of a body.
pub(super) fn typed<T: DeserializeOwned>(json: &str) -> Result<T, Vec<Problem>> {
    serde_json::from_str(json).map_err(|error| vec![Problem::at("", error.to_string())])
}

fn finish(
    key: &str,
    document: &impl Serialize,
    problems: Vec<Problem>,
) -> Result<(Arc<str>, Arc<str>), Vec<Problem>> {
    if !problems.is_empty() {
        return Err(problems);
    }
    let body = serde_json::to_string(document)
        .map_err(|error| vec![Problem::at("", error.to_string())])?;
    if body.len() > MAX_DOCUMENT_BYTES {
        let message =
            format!("the document has {} bytes, the limit is {MAX_DOCUMENT_BYTES}", body.len());
        return Err(vec![Problem::at("", message)]);
    }
    Ok((key.into(), body.into()))
}

fn thing(keys: &[(&str, &str)]) -> Vec<Problem> {
    let bad = keys.iter().filter(|(_, key)| !thing_key(key));
    bad.map(|(path, key)| {
        let message = format!("'{key}' is no key");
        Problem::at(*path, message).hint(
            "use at most 256 characters, no control characters, no blanks at the ends, no '->'",
        )
    })
    .collect()
}

fn device_type(document: &DeviceType) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !plain_key(&document.metadata.key) {
        let message = format!("'{}' is no key", document.metadata.key);
        problems.push(
            Problem::at("metadata.key", message)
                .hint("use letters, digits, '.', '_' and '-', at most 128"),
        );
    }
    let identity = &document.identity;
    match &identity.id_pattern {
        Some(pattern) => {
            if let Err(error) = id_pattern(pattern) {
                problems.push(Problem::at("identity.id_pattern", error));
            }
        }
        None if identity.provision.is_some() => {
            problems.push(Problem::at("identity.provision", "'provision' needs 'id_pattern'"));
        }
        None => {}
    }
    let rules = &document.extraction_rules;
    if rules.len() > MAX_METRICS {
        let message = format!("there are {} metrics, the limit is {MAX_METRICS}", rules.len());
        problems.push(Problem::at("extraction_rules", message));
    }
    let mut seen = HashSet::new();
    for (i, rule) in rules.iter().enumerate() {
        let path = element("extraction_rules", i);
        if !seen.insert(rule.metric.as_str()) {
            let message = format!("the metric '{}' is there twice", rule.metric);
            problems.push(Problem::at(member(&path, "metric"), message));
        }
        let Some(unit) = &rule.unit else { continue };
        if !rule.data_type.is_number() {
            let message = format!("a {} has no unit", rule.data_type);
            problems.push(Problem::at(member(&path, "unit"), message));
        } else if let Err(error) = units::validate(unit) {
            let problem = Problem::at(member(&path, "unit"), error.to_string());
            problems.push(match error.hint() {
                Some(hint) => problem.hint(hint),
                None => problem,
            });
        }
    }
    problems
}

/// The pattern of a device type, made to match whole ids.
pub(super) fn id_pattern(pattern: &str) -> Result<Regex, String> {
    let whole = format!("^(?:{pattern})$");
    let built = regex::RegexBuilder::new(&whole).size_limit(1 << 20).build();
    built.map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("'{pattern}' is no regular expression: {last}")
    })
}
