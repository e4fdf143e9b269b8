//! Which keys a document may have and what stands behind them, checked with the place of every
//! deviation and without stopping at the first one.

use super::problem::Problem;
use super::shapes::LATER;
use super::yaml::{Content, Node, Place, element, member};
use crate::expr::nearest;
use crate::model::{Duration, Timestamp};

/// What a value must be.
pub(super) enum Shape {
    /// A text.
    Text,
    /// A finite number.
    Number,
    /// A whole number from 0 to the given one.
    Whole(u32),
    /// `true` or `false`.
    Bool,
    /// A bool, a finite number or a text.
    Literal,
    /// A duration.
    Duration,
    /// A point in time.
    Timestamp,
    /// One of these texts; the others come later.
    Choice(&'static [&'static str], &'static [&'static str]),
    /// Any number of values of one shape.
    List(&'static Shape),
    /// Exactly two values.
    Pair(&'static Shape, &'static Shape),
    /// Any keys, values of one shape.
    Map(&'static Shape),
    /// These keys.
    Record(&'static Record),
    /// A record told by its key `type`.
    Variants(&'static [(&'static str, &'static Record)], &'static [&'static str]),
}

/// The keys of a record.
pub(super) struct Record {
    /// What it is called in messages.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Member],
}

/// A key of a record.
pub(super) struct Member {
    pub name: &'static str,
    pub shape: &'static Shape,
    pub required: bool,
}

/// Collects problems, and gives the document as JSON without its bad parts.
pub(super) struct Checker {
    pub problems: Vec<Problem>,
}

impl Checker {
    /// The JSON of a value; `None` when it is not of the shape.
    pub fn value(
        &mut self,
        node: &Node,
        shape: &Shape,
        path: &str,
        place: Place,
    ) -> Option<String> {
        let found = || node.describe();
        match shape {
            Shape::Text => match &node.content {
                Content::Quoted(text) => Some(json(text)),
                Content::Plain(text) if !node.is_null() => {
                    if node.as_bool().is_some() || node.as_number().is_some() {
                        let message = format!("expected a text, found {}", found());
                        self.problem(place, path, message).hint =
                            Some("put it in quotes".to_owned());
                        return None;
                    }
                    Some(json(text))
                }
                _ => self.expected(place, path, "a text", &found()),
            },
            Shape::Number => match node.as_number() {
                Some(number) if number.is_finite() => Some(format!("{number:?}")),
                _ => self.expected(place, path, "a number", &found()),
            },
            Shape::Whole(most) => match node.as_number() {
                Some(number)
                    if number.fract() == 0.0 && (0.0..=f64::from(*most)).contains(&number) =>
                {
                    Some(format!("{number:.0}"))
                }
                _ => self.expected(
                    place,
                    path,
                    &format!("a whole number from 0 to {most}"),
                    &found(),
                ),
            },
            Shape::Bool => match node.as_bool() {
                Some(value) => Some(value.to_string()),
                None => self.expected(place, path, "true or false", &found()),
            },
            Shape::Literal => match (node.as_bool(), node.as_number(), node.scalar()) {
                (Some(value), _, _) => Some(value.to_string()),
                (_, Some(number), _) if number.is_finite() => Some(format!("{number:?}")),
                (None, None, Some(text)) if !node.is_null() => Some(json(text)),
                _ => self.expected(place, path, "a number, a bool or a text", &found()),
            },
            Shape::Duration => match node.scalar() {
                Some(text) if node.as_number().is_none() && !node.is_null() => {
                    match text.parse::<Duration>() {
                        Ok(_) => Some(json(text)),
                        Err(error) => {
                            self.problem(place, path, error.to_string());
                            None
                        }
                    }
                }
                _ => self.expected(place, path, "a duration such as PT30S", &found()),
            },
            Shape::Timestamp => match node.scalar() {
                Some(text) if !node.is_null() => match Timestamp::parse(text) {
                    Ok(time) => Some(json(&time.to_string())),
                    Err(error) => {
                        self.problem(place, path, error.to_string());
                        None
                    }
                },
                _ => self.expected(place, path, "a time such as 2026-03-01T06:00:00Z", &found()),
            },
            Shape::Choice(known, later) => match node.scalar() {
                Some(text) if known.contains(&text) => Some(json(text)),
                Some(text) if later.contains(&text) => {
                    self.problem(place, path, format!("not supported yet: {text}"));
                    None
                }
                _ => self.expected(place, path, &alternatives(known), &found()),
            },
            Shape::List(of) => match &node.content {
                Content::List(items) => {
                    let mut parts = Vec::with_capacity(items.len());
                    for (i, item) in items.iter().enumerate() {
                        parts.extend(self.value(item, of, &element(path, i), item.place));
                    }
                    Some(format!("[{}]", parts.join(",")))
                }
                _ => self.expected(place, path, "a list", &found()),
            },
            Shape::Pair(first, second) => match &node.content {
                Content::List(items) if items.len() == 2 => {
                    let a = self.value(&items[0], first, &element(path, 0), items[0].place);
                    let b = self.value(&items[1], second, &element(path, 1), items[1].place);
                    Some(format!("[{},{}]", a?, b?))
                }
                Content::List(items) => {
                    let found = format!("a list of {}", items.len());
                    self.expected(place, path, "a list of two values", &found)
                }
                _ => self.expected(place, path, "a list of two values", &found()),
            },
            Shape::Map(of) => match &node.content {
                Content::Map(members) => {
                    let mut parts = Vec::with_capacity(members.len());
                    for (key, value) in members {
                        let path = member(path, &key.name);
                        if let Some(value) = self.value(value, of, &path, key.place) {
                            parts.push(format!("{}:{value}", json(&key.name)));
                        }
                    }
                    Some(format!("{{{}}}", parts.join(",")))
                }
                _ => self.expected(place, path, "a mapping", &found()),
            },
            Shape::Record(record) => self.record(node, record, None, path, place),
            Shape::Variants(variants, later) => {
                let Content::Map(members) = &node.content else {
                    return self.expected(place, path, "a mapping with a key 'type'", &found());
                };
                let names: Vec<&str> = variants.iter().map(|(name, _)| *name).collect();
                let Some((key, tag)) = members.iter().find(|(key, _)| key.name == "type") else {
                    let message = format!("the key 'type' is missing: {}", alternatives(&names));
                    self.problem(place, path, message);
                    return None;
                };
                let text = tag.scalar().unwrap_or_default();
                let path_of_tag = member(path, "type");
                if later.contains(&text) {
                    self.problem(key.place, &path_of_tag, format!("not supported yet: {text}"));
                    return None;
                }
                let Some((name, record)) = variants.iter().find(|(name, _)| *name == text) else {
                    return self.expected(
                        key.place,
                        &path_of_tag,
                        &alternatives(&names),
                        &tag.describe(),
                    );
                };
                self.record(node, record, Some(name), path, place)
            }
        }
    }

    fn record(
        &mut self,
        node: &Node,
        record: &Record,
        tag: Option<&str>,
        path: &str,
        place: Place,
    ) -> Option<String> {
        let Content::Map(members) = &node.content else {
            return self.expected(place, path, record.name, &node.describe());
        };
        let mut parts: Vec<String> =
            tag.map(|tag| format!("\"type\":{}", json(tag))).into_iter().collect();
        for (key, value) in members {
            if tag.is_some() && key.name == "type" {
                continue;
            }
            let path = member(path, &key.name);
            let Some(known) = record.keys.iter().find(|known| known.name == key.name) else {
                self.unknown(key.place, &path, &key.name, record);
                continue;
            };
            if value.is_null() && !known.required {
                continue;
            }
            if let Some(value) = self.value(value, known.shape, &path, key.place) {
                parts.push(format!("{}:{value}", json(&key.name)));
            }
        }
        for known in record.keys.iter().filter(|known| known.required) {
            if !members.iter().any(|(key, _)| key.name == known.name) {
                let message = format!("the key '{}' is missing in {}", known.name, record.name);
                self.problem(place, path, message);
            }
        }
        Some(format!("{{{}}}", parts.join(",")))
    }

    fn unknown(&mut self, place: Place, path: &str, key: &str, record: &Record) {
        if LATER.contains(&key) {
            self.problem(place, path, format!("not supported yet: {key}"));
            return;
        }
        let names: Vec<&str> = record.keys.iter().map(|known| known.name).collect();
        let hint = match nearest(key, names.iter().copied()) {
            Some(name) => format!("did you mean '{name}'?"),
            None => format!("known: {}", names.join(", ")),
        };
        self.problem(place, path, format!("unknown key '{key}' in {}", record.name)).hint =
            Some(hint);
    }

    fn expected(&mut self, place: Place, path: &str, what: &str, found: &str) -> Option<String> {
        self.problem(place, path, format!("expected {what}, found {found}"));
        None
    }

    fn problem(&mut self, place: Place, path: &str, message: String) -> &mut Problem {
        self.problems.push(Problem {
            line: Some(place.0),
            column: Some(place.1),
            ..Problem::at(path, message)
        });
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }
}

fn alternatives(names: &[&str]) -> String {
    match names {
        [only] => format!("'{only}'"),
        names => format!("one of {}", names.join(", ")),
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
