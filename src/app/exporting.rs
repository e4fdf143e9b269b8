//! Exports from a door to the jobs: which question is meant.

use super::doors::{RuntimeDoors, asked};
use crate::model::Timestamp;
use crate::query::{Asking, Form};
use crate::serve::{DoorError, ErrorKind, Export, NewExport};
use serde_json::Value;

impl RuntimeDoors {
    /// Takes an export, when its question can be read.
    pub(super) fn begin_export(&self, wanted: &NewExport) -> Result<Export, DoorError> {
        let form = match wanted.format.parse::<Form>() {
            Ok(form) if form != Form::Table => form,
            _ => {
                let known = Form::ALL.iter().filter(|form| **form != Form::Table);
                let known: Vec<&str> = known.map(|form| form.name()).collect();
                let detail = format!("'{}' is no format", wanted.format);
                return Err(DoorError::new(ErrorKind::Malformed, detail)
                    .hint(format!("formats: {}", known.join(", "))));
            }
        };
        let query = &self.runtime().query;
        let (prepared, told) = match (&wanted.sql, &wanted.query) {
            (Some(sql), None) if wanted.parameters.is_empty() => {
                (query.prepare(Asking::Sql(sql)), sql.clone())
            }
            (None, Some(name)) => {
                let named = self.named(name)?;
                let text = |value: &Value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let given = wanted.parameters.iter();
                let given: Vec<(String, String)> =
                    given.map(|(name, value)| (name.clone(), text(value))).collect();
                let told: Vec<String> =
                    given.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                let now = Timestamp(self.runtime().clock.now_micros());
                let prepared = query.prepare(Asking::Named(&named, &given, now));
                (prepared, format!("{name}{}", told.concat()))
            }
            _ => {
                let detail = "what to export: give either 'sql', or 'query' and its 'parameters'";
                return Err(DoorError::new(ErrorKind::Malformed, detail)
                    .hint("GET /api/v1/queries lists the named queries"));
            }
        };
        self.kept_exports().start(query, (prepared.map_err(asked)?, told), form)
    }
}
