//! The device in a topic.

use serde::Deserialize;

/// A pattern of topics, one level of which is the device: `plant/{device}/telemetry`.
///
/// `+` stands for any one level, `#` at the end for any rest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Exactly(String),
    Any,
    Rest,
    Device,
}

/// Why a text is no [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no topic template: give one level as {{device}}, as in plant/{{device}}/telemetry"
)]
pub struct TemplateError(String);

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let level = |level: &str| match level {
            "{device}" => Level::Device,
            "+" => Level::Any,
            "#" => Level::Rest,
            exactly => Level::Exactly(exactly.into()),
        };
        let levels: Vec<Level> = text.split('/').map(level).collect();
        let devices = levels.iter().filter(|level| **level == Level::Device).count();
        let rest = levels.iter().position(|level| *level == Level::Rest);
        let odd = levels.iter().any(|level| match level {
            Level::Exactly(text) => text.contains(['{', '}', '+', '#']),
            _ => false,
        });
        if devices != 1 || odd || rest.is_some_and(|at| at + 1 != levels.len()) {
            return Err(TemplateError(text.into()));
        }
        Ok(Self { levels })
    }

    /// The device of a topic; `None` when the topic does not match.
    pub fn device<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let mut found = None;
        let mut levels = topic.split('/');
        for wanted in &self.levels {
            match (wanted, levels.next()) {
                (Level::Rest, _) => return found,
                (_, None) => return None,
                (Level::Exactly(text), Some(level)) if text == level => {}
                (Level::Exactly(_), Some(_)) => return None,
                (Level::Any, Some(_)) => {}
                (Level::Device, Some("")) => return None,
                (Level::Device, Some(level)) => found = Some(level),
            }
        }
        if levels.next().is_some() { None } else { found }
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, topic: &str, expected: Option<&str>) {
        let template = Template::parse(template).unwrap();
        assert_eq!(template.device(topic), expected, "{topic}");
    }

    #[test]
    fn devices_are_found_in_topics() {
        check("plant/{device}/telemetry", "plant/pump-1/telemetry", Some("pump-1"));
        check("plant/{device}/telemetry", "plant/pump-1/status", None);
        check("plant/{device}/telemetry", "plant/pump-1", None);
        check("plant/{device}/telemetry", "plant/pump-1/telemetry/raw", None);
        check("plant/{device}/telemetry", "plant//telemetry", None);
        check("+/{device}/#", "a/pump-1/b/c", Some("pump-1"));
        check("+/{device}/#", "a/pump-1", Some("pump-1"));
        check("{device}", "pump-1", Some("pump-1"));
        for bad in ["plant", "{device}/{device}", "#/{device}", "x{device}", "a+/{device}", ""] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
