//! The parameters of an address as they were given.

use crate::model::Timestamp;
use crate::query::error::Error;
use crate::query::named::{ParameterType, time};

/// Metrics that can be named.
pub const METRICS_MAX: usize = 100;

/// Parameters by name.
pub(super) struct Given<'a> {
    pub pairs: &'a [(String, String)],
    pub now: Timestamp,
}

impl<'a> Given<'a> {
    /// Refuses names that are not known, and those that are given twice; `metricKey` may be.
    pub fn check(&self, known: &[&str]) -> Result<(), Error> {
        for (at, (name, _)) in self.pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let near = crate::expr::nearest(name, known.iter().copied());
                let near = near.map_or(String::new(), |near| format!("did you mean '{near}'? "));
                let hint = format!("{near}parameters: {}", known.join(", "));
                return Err(refused(format!("there is no parameter '{name}'"), &hint));
            }
            if name != "metricKey" && self.pairs[..at].iter().any(|(before, _)| before == name) {
                return Err(refused(format!("parameter '{name}' is given twice"), "give it once"));
            }
        }
        Ok(())
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // In an address a plus that is not written as %2B becomes a blank.
        let read = time(text.trim(), self.now).or_else(|| time(&text.replace(' ', "+"), self.now));
        let read = read.filter(|time| jiff::Timestamp::from_microsecond(time.0).is_ok());
        read.map(Some).ok_or_else(|| {
            let expected = ParameterType::Timestamp.expected();
            refused(format!("parameter '{name}' is '{text}', no time"), &format!("give {expected}"))
        })
    }

    pub fn number(&self, name: &str, most: usize) -> Result<Option<usize>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.trim().parse::<usize>() {
            Ok(number) if number > most => {
                let message = format!("parameter '{name}' is {number}, at most {most}");
                Err(Error::limit(message, "ask for less, in several requests"))
            }
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => {
                let message = format!("parameter '{name}' is '{text}', no whole number above 0");
                Err(refused(message, &format!("give 1 to {most}")))
            }
        }
    }

    /// Names with commas between them, or each in a parameter of its own.
    pub fn metrics(&self) -> Result<Vec<String>, Error> {
        let given = self.pairs.iter().filter(|(name, _)| name == "metricKey");
        let names = given.flat_map(|(_, names)| names.split(',')).map(str::trim);
        let mut metrics: Vec<String> = Vec::new();
        for name in names.filter(|name| !name.is_empty()) {
            if !metrics.iter().any(|known| known == name) {
                metrics.push(name.into());
            }
        }
        if metrics.len() > METRICS_MAX {
            let message = format!("{} metrics, at most {METRICS_MAX}", metrics.len());
            return Err(Error::limit(message, "ask in several requests"));
        }
        Ok(metrics)
    }

    pub fn one_of<T: Copy>(&self, name: &str, all: &[(&str, T)]) -> Result<Option<T>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = all.iter().find(|(known, _)| *known == text).map(|(_, value)| *value);
        found.map(Some).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
            let hint = format!("give one of {}", known.join(", "));
            refused(format!("parameter '{name}' is '{text}'"), &hint)
        })
    }
}

pub(super) fn refused(message: String, hint: &str) -> Error {
    Error::Parameter { message, hint: Some(hint.into()) }
}
