//! One file: a header of comment lines, then the query.

use super::parameter::ParameterType;
use crate::catalog::Problem;
use crate::model::Timestamp;
use std::collections::BTreeMap;

/// A query with a name, and what it wants to know.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedQuery {
    /// The name: the file's, without its ending.
    pub name: String,
    /// What it answers, in a few words.
    pub title: String,
    /// What else there is to say; may be empty.
    pub description: String,
    /// Its parameters, in the order of the file.
    pub parameters: Vec<Parameter>,
    /// Values that give an answer on the recording that ships with the program.
    pub example: BTreeMap<String, String>,
    /// The whole file, so that places in messages are those of the file.
    pub text: String,
    /// Where it was read from.
    pub file: String,
}

/// What a query wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name: `$name` in the query.
    pub name: String,
    /// What its values are.
    pub kind: ParameterType,
    /// What is taken when no value is given.
    pub default: Fallback,
    /// What it means; may be empty.
    pub description: String,
}

/// What is taken when no value is given for a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: a value must be given.
    Required,
    /// SQL's null.
    Null,
    /// This text, read like a given one.
    Text(String),
}

const PARAM: &str = "param ";
const EXAMPLE: &str = "example:";
const SYNTAX: &str = "write `-- param NAME TYPE = DEFAULT: what it means`, or no `= DEFAULT`";

/// Reads a file. Whether its SQL can be planned is for [`super::check`] to say.
pub fn read(name: &str, file: &str, text: &str) -> Result<NamedQuery, Vec<Problem>> {
    let mut reader = Reader { problems: Vec::new(), file, line: 0 };
    if !is_name(name) {
        let hint = "name the file with lower-case letters, digits and '_'";
        reader.problem(format!("'{name}' is no name of a query"), hint);
    }
    let mut query = NamedQuery {
        name: name.into(),
        title: String::new(),
        description: String::new(),
        parameters: Vec::new(),
        example: BTreeMap::new(),
        text: text.into(),
        file: file.into(),
    };
    for line in text.lines() {
        reader.line += 1;
        let Some(comment) = line.strip_prefix("--") else { break };
        reader.header(&mut query, comment);
    }
    query.description = query.description.trim().to_owned();
    reader.line = 1;
    if query.title.is_empty() {
        reader.problem("the query has no title", "begin the file with `-- What it answers`");
    }
    reader.values(&query);
    if reader.problems.is_empty() { Ok(query) } else { Err(reader.problems) }
}

/// Whether a text can be the name of a query or of a parameter.
fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

struct Reader<'a> {
    problems: Vec<Problem>,
    file: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn problem(&mut self, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem {
            file: Some(self.file.into()),
            line: Some(self.line),
            column: Some(1),
            ..Problem::at("", message).hint(hint)
        });
    }

    fn header(&mut self, query: &mut NamedQuery, comment: &str) {
        let line = comment.strip_prefix(' ').unwrap_or(comment).trim_end();
        if let Some(declared) = line.strip_prefix(PARAM) {
            match parameter(declared) {
                Some(Ok(new)) if query.parameters.iter().any(|known| known.name == new.name) => {
                    self.problem(format!("parameter '{}' is there twice", new.name), "drop one");
                }
                Some(Ok(new)) if new.name == "format" => {
                    let hint = "take another name: in an address it names the form of the answer";
                    self.problem("'format' is no name of a parameter", hint);
                }
                Some(Ok(new)) => query.parameters.push(new),
                Some(Err(kind)) => {
                    let types = ParameterType::ALL.map(ParameterType::name).join(", ");
                    self.problem(format!("'{kind}' is no type"), &format!("types: {types}"));
                }
                None => self.problem(format!("'{line}' declares no parameter"), SYNTAX),
            }
        } else if let Some(pairs) = line.strip_prefix(EXAMPLE) {
            match assignments(pairs) {
                Some(pairs) => query.example.extend(pairs),
                None => {
                    let hint = "write `-- example: name=value other=\"two words\"`";
                    self.problem(format!("'{line}' is no example"), hint);
                }
            }
        } else if query.title.is_empty() {
            query.title = line.trim().trim_end_matches('.').to_owned();
        } else {
            query.description.push_str(line.trim());
            query.description.push('\n');
        }
    }

    /// Defaults and examples are of their types, and the example is whole.
    fn values(&mut self, query: &NamedQuery) {
        for parameter in &query.parameters {
            let default = match &parameter.default {
                Fallback::Text(text) => Some(("default", text)),
                Fallback::Required | Fallback::Null => None,
            };
            let example = query.example.get(&parameter.name).map(|text| ("example", text));
            for (what, text) in default.into_iter().chain(example) {
                if parameter.kind.read(text, Timestamp(0)).is_none() {
                    let message =
                        format!("'{text}' as {what} of '{}' has another type", parameter.name);
                    self.problem(message, &format!("give {}", parameter.kind.expected()));
                }
            }
            if parameter.default == Fallback::Required && example_lacks(query, parameter) {
                let message = format!("no example value for '{}'", parameter.name);
                self.problem(message, "add it to the line `-- example: name=value`");
            }
        }
        for name in query.example.keys() {
            if query.parameters.iter().all(|known| known.name != *name) {
                let message =
                    format!("the example has a value for '{name}', which is not declared");
                self.problem(message, SYNTAX);
            }
        }
    }
}

fn example_lacks(query: &NamedQuery, parameter: &Parameter) -> bool {
    !query.example.contains_key(&parameter.name)
}

/// `NAME TYPE [= DEFAULT][: DESCRIPTION]`; the error is a type that there is not.
fn parameter(declared: &str) -> Option<Result<Parameter, String>> {
    let (name, rest) = declared.trim().split_once(' ')?;
    if !is_name(name) {
        return None;
    }
    let rest = rest.trim_start();
    let end = rest.find([' ', ':', '=']).unwrap_or(rest.len());
    let (kind, rest) = rest.split_at(end);
    let Some(kind) = ParameterType::parse(kind) else { return Some(Err(kind.to_owned())) };
    let (default, rest) = match rest.trim_start().strip_prefix('=') {
        None => (Fallback::Required, rest.trim_start()),
        Some(rest) => {
            let (value, rest) = value(rest.trim_start(), true)?;
            let null = value == "null" && !rest.starts_with('"');
            (if null { Fallback::Null } else { Fallback::Text(value) }, rest.trim_start())
        }
    };
    let description = match rest.strip_prefix(':') {
        Some(description) => description.trim().to_owned(),
        None if rest.is_empty() => String::new(),
        None => return None,
    };
    Some(Ok(Parameter { name: name.to_owned(), kind, default, description }))
}

/// `name=value`, any number of them.
fn assignments(mut rest: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    while !rest.trim_start().is_empty() {
        let (name, after) = rest.trim_start().split_once('=')?;
        let (value, after) = value(after, false)?;
        pairs.push((name.to_owned(), value));
        rest = after;
    }
    Some(pairs)
}

/// A word, or anything in double quotes; with `colon`, one at the end of the word is not a part
/// of it.
fn value(text: &str, colon: bool) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (value, rest) = quoted.split_once('"')?;
        return Some((value.to_owned(), rest));
    }
    let mut end = text.find(' ').unwrap_or(text.len());
    if colon && text[..end].ends_with(':') {
        end -= 1;
    }
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}
