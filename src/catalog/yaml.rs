//! YAML as a tree that knows where everything stands.
//!
//! Anchors, aliases, tags and several documents in one file are refused: a document of the
//! catalog is plain data.

use super::problem::Problem;
use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle};
use std::collections::HashMap;

/// A line and a column, both from 1.
pub(super) type Place = (usize, usize);

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub content: Content,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A scalar that is not quoted.
    Plain(String),
    /// A scalar that is quoted or a block: always a text.
    Quoted(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in document order.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub place: Place,
    pub name: String,
}

enum Open {
    List(Place, Vec<Node>),
    Map(Place, Vec<(Key, Node)>, Option<Key>),
}

/// Reads one YAML document. Problems have a place and no file.
pub(super) fn parse(text: &str, max_depth: usize) -> Result<Node, Problem> {
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| at(place(error.marker()), error.info()))?;
        let here = place(&span.start);
        let node = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(at(here, "not supported yet: several documents in one file"));
                }
                continue;
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return Err(at(here, "not supported yet: aliases (*name)"));
            }
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(.., Some(_))
            | Event::MappingStart(.., Some(_)) => {
                return Err(at(here, "not supported yet: tags (!name)"));
            }
            Event::Scalar(value, style, ..) => {
                if let Some(Open::Map(_, members, key @ None)) = open.last_mut() {
                    let name = value.into_owned();
                    if members.iter().any(|(known, _)| known.name == name) {
                        return Err(at(here, format!("the key '{name}' is there twice")));
                    }
                    *key = Some(Key { place: here, name });
                    continue;
                }
                let content = match style {
                    ScalarStyle::Plain => Content::Plain(value.into_owned()),
                    _ => Content::Quoted(value.into_owned()),
                };
                Node { place: here, content }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if let Some(Open::Map(_, _, None)) = open.last() {
                    return Err(at(here, "a key must be a text"));
                }
                if open.len() >= max_depth {
                    return Err(at(here, format!("nested deeper than {max_depth} levels")));
                }
                open.push(match event {
                    Event::SequenceStart(..) => Open::List(here, Vec::new()),
                    _ => Open::Map(here, Vec::new(), None),
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(place, items)) => Node { place, content: Content::List(items) },
                Some(Open::Map(place, members, _)) => {
                    Node { place, content: Content::Map(members) }
                }
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, members, key)) => {
                if let Some(key) = key.take() {
                    members.push((key, node));
                }
            }
            None => root = Some(node),
        }
    }
    root.ok_or_else(|| at((1, 1), "the document is empty"))
}

impl Node {
    /// Whether it is nothing: `null`, `~` or left out.
    pub fn is_null(&self) -> bool {
        matches!(&self.content, Content::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// `true` or `false`.
    pub fn as_bool(&self) -> Option<bool> {
        match &self.content {
            Content::Plain(text) => match text.as_str() {
                "true" | "True" | "TRUE" => Some(true),
                "false" | "False" | "FALSE" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// A number in the YAML core schema; infinities and NaN are numbers too.
    pub fn as_number(&self) -> Option<f64> {
        let Content::Plain(text) = &self.content else { return None };
        match text.as_str() {
            ".inf" | ".Inf" | ".INF" | "+.inf" => return Some(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
            ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
            _ => {}
        }
        let digits = text.trim_start_matches(['+', '-']);
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        text.parse().ok()
    }

    /// The text of a scalar, as it stands there.
    pub fn scalar(&self) -> Option<&str> {
        match &self.content {
            Content::Plain(text) | Content::Quoted(text) => Some(text),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match &self.content {
            Content::List(_) => "a list".into(),
            Content::Map(_) => "a mapping".into(),
            _ if self.is_null() => "nothing".into(),
            Content::Plain(text) if self.as_bool().is_some() => format!("the bool {text}"),
            Content::Plain(text) if self.as_number().is_some() => format!("the number {text}"),
            Content::Plain(text) | Content::Quoted(text) => {
                format!("the text '{}'", text.chars().take(60).collect::<String>())
            }
        }
    }

    /// The places of all keys and list elements by their paths.
    pub fn places(&self) -> HashMap<String, Place> {
        let mut places = HashMap::new();
        places.insert(String::new(), self.place);
        self.collect("", &mut places);
        places
    }

    fn collect(&self, path: &str, places: &mut HashMap<String, Place>) {
        match &self.content {
            Content::Plain(_) | Content::Quoted(_) => {}
            Content::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    let path = element(path, i);
                    item.collect(&path, places);
                    places.insert(path, item.place);
                }
            }
            Content::Map(members) => {
                for (key, value) in members {
                    let path = member(path, &key.name);
                    value.collect(&path, places);
                    places.insert(path, key.place);
                }
            }
        }
    }
}

/// The path of a key below a path.
pub(super) fn member(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The path of a list element below a path.
pub(super) fn element(path: &str, i: usize) -> String {
    format!("{path}[{i}]")
}

fn place(marker: &Marker) -> Place {
    (marker.line(), marker.col() + 1)
}

fn at(place: Place, message: impl Into<String>) -> Problem {
    Problem {
        line: Some(place.0),
        column: Some(place.1),
        message: message.into(),
        ..Problem::default()
    }
}
