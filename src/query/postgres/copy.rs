//! `COPY ... TO STDOUT`: an answer as text, by the options that say how.

use crate::query::error::Error;
use crate::query::limits::Limits;
use datafusion::sql::sqlparser::ast::{
    self, CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// How rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyForm {
    /// Comma-separated values; else PostgreSQL's own text.
    pub csv: bool,
    /// Whether a line with the names of the columns comes first.
    pub header: bool,
    /// What stands between two values.
    pub delimiter: char,
    /// What stands for no value.
    pub null: String,
    /// What stands around values, in CSV.
    pub quote: char,
    /// What stands before a quote that is part of a value, in CSV.
    pub escape: char,
}

/// The query of a `COPY` and its form; `None` when the text is none that answers.
pub(super) fn read(text: &str, limits: &Limits) -> Result<Option<(String, CopyForm)>, Error> {
    if !text.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("copy")) {
        return Ok(None);
    }
    let syntax = |message: String| Error::Syntax { message, hint: None };
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(limits.depth * 4)
        .try_with_sql(text)
        .map_err(|error| syntax(error.to_string()))?;
    let Ok(statements) = parser.parse_statements() else { return Ok(None) };
    let [ast::Statement::Copy { source, to: true, target, options, legacy_options, .. }] =
        statements.as_slice()
    else {
        return Ok(None);
    };
    if !matches!(target, CopyTarget::Stdout) {
        let hint = "COPY ... TO STDOUT, or \\copy in psql, writes on your side";
        return Err(Error::refused("COPY to a file or program of the server", hint));
    }
    let query = match source {
        CopySource::Query(query) => query.to_string(),
        CopySource::Table { table_name, columns } if columns.is_empty() => {
            format!("SELECT * FROM {table_name}")
        }
        CopySource::Table { table_name, columns } => {
            let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
            format!("SELECT {} FROM {table_name}", columns.join(", "))
        }
    };
    Ok(Some((query, form(options, legacy_options)?)))
}

/// What was said of the form, in either way of saying it.
#[derive(Default)]
struct Said {
    csv: bool,
    header: bool,
    delimiter: Option<char>,
    null: Option<String>,
    quote: Option<char>,
    escape: Option<char>,
}

fn form(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<CopyForm, Error> {
    let unknown = |option: String| {
        Error::refused(format!("COPY with {option}"), "give FORMAT, HEADER, DELIMITER or NULL")
    };
    let mut said = Said::default();
    for option in options {
        match option {
            CopyOption::Format(name) => match name.value.to_lowercase().as_str() {
                "csv" => said.csv = true,
                "text" => said.csv = false,
                other => return Err(unknown(format!("FORMAT {other}"))),
            },
            CopyOption::Header(header) => said.header = *header,
            CopyOption::Delimiter(delimiter) => said.delimiter = Some(*delimiter),
            CopyOption::Null(null) => said.null = Some(null.clone()),
            CopyOption::Quote(quote) => said.quote = Some(*quote),
            CopyOption::Escape(escape) => said.escape = Some(*escape),
            CopyOption::Encoding(encoding) if encoding.to_lowercase().starts_with("utf") => {}
            other => return Err(unknown(other.to_string())),
        }
    }
    for option in legacy {
        match option {
            CopyLegacyOption::Csv(options) => {
                said.csv = true;
                for option in options {
                    match option {
                        CopyLegacyCsvOption::Header => said.header = true,
                        CopyLegacyCsvOption::Quote(quote) => said.quote = Some(*quote),
                        CopyLegacyCsvOption::Escape(escape) => said.escape = Some(*escape),
                        other => return Err(unknown(other.to_string())),
                    }
                }
            }
            CopyLegacyOption::Header => said.header = true,
            CopyLegacyOption::Delimiter(delimiter) => said.delimiter = Some(*delimiter),
            CopyLegacyOption::Null(null) => said.null = Some(null.clone()),
            other => return Err(unknown(other.to_string())),
        }
    }
    let Said { csv, header, delimiter, null, quote, escape } = said;
    let quote = quote.unwrap_or('"');
    Ok(CopyForm {
        csv,
        header,
        delimiter: delimiter.unwrap_or(if csv { ',' } else { '\t' }),
        null: null.unwrap_or_else(|| if csv { String::new() } else { "\\N".into() }),
        quote,
        escape: escape.unwrap_or(quote),
    })
}
