//! `AS OF SYSTEM TIME`: telemetry as it was known at an earlier time.
//!
//! The archive keeps every value that a key ever had with its epoch, and when it was deleted. As of
//! an epoch a key has its newest value of epochs up to that one, unless it was deleted since.

use super::error::Error;
use super::files::Files;
use super::hot::Hot;
use super::named::ParameterType;
use super::part::PartTable;
use super::telemetry::NAME;
use crate::historian::{Telemetry, schema};
use crate::model::{Epoch, Timestamp};
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    ExprFunctionExt, JoinType, LogicalPlan, LogicalPlanBuilder, col, lit,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use std::sync::Arc;

/// The clause as it may be written.
const CLAUSES: [&[&str]; 2] =
    [&["AS", "OF", "SYSTEM", "TIME"], &["FOR", "SYSTEM_TIME", "AS", "OF"]];
const NUMBER: &str = "place";

/// The text without the clause, which becomes blanks so that places of errors stay, and the time
/// that it names.
pub(super) fn split(text: &str) -> Result<(String, Option<String>), Error> {
    let syntax = |message: String| Error::Syntax { message, hint: Some(usage()) };
    // What cannot be read is told by the parser, which knows the dialect.
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    let tokens = tokens.unwrap_or_default();
    let tokens: Vec<&TokenWithSpan> =
        tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    let is_word = |token: &TokenWithSpan, wanted: &str| match &token.token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted),
        _ => false,
    };
    let is_at = |at: usize, clause: &[&str]| {
        let words = tokens.iter().skip(at);
        words.clone().count() >= clause.len() && words.zip(clause).all(|(t, word)| is_word(t, word))
    };
    let found = |at: &usize| CLAUSES.iter().find(|clause| is_at(*at, clause));
    let mut places = (0..tokens.len()).filter_map(|at| found(&at).map(|clause| (at, clause.len())));
    let Some((at, length)) = places.next() else { return Ok((text.into(), None)) };
    if places.next().is_some() {
        return Err(syntax("AS OF SYSTEM TIME stands there twice".into()));
    }
    let time = tokens.get(at + length).and_then(|token| match &token.token {
        Token::SingleQuotedString(text) => Some((text.clone(), token.span.end)),
        Token::Number(number, _) => Some((number.clone(), token.span.end)),
        _ => None,
    });
    let Some((time, end)) = time else {
        return Err(syntax("AS OF SYSTEM TIME names no time".into()));
    };
    let (begin, end) = (offset(text, tokens[at].span.start), offset(text, end));
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let rest: String = text
        .char_indices()
        .map(|(i, c)| if (begin..end).contains(&i) { blank(c) } else { c })
        .collect();
    Ok((rest, Some(time)))
}

/// The epoch that was the newest at a time, which is relative to that of `newest`; later times are
/// now.
pub(super) fn epoch(time: &str, newest: Epoch) -> Result<Epoch, Error> {
    let now = Timestamp(i64::try_from(newest.0).unwrap_or(i64::MAX).saturating_mul(1_000));
    let read = ParameterType::Timestamp.read(time, now);
    let Some(ScalarValue::TimestampMicrosecond(Some(micros), _)) = read else {
        let message = format!("AS OF SYSTEM TIME '{time}' is no time");
        return Err(Error::Syntax { message, hint: Some(usage()) });
    };
    Ok(newest.min(Epoch(u64::try_from(micros.div_euclid(1_000)).unwrap_or(0))))
}

fn usage() -> String {
    let time = ParameterType::Timestamp.expected();
    format!("SELECT ... FROM {NAME} AS OF SYSTEM TIME '-1h' WHERE ...: {time}")
}

/// The byte at which a place of the tokenizer is: its lines and columns begin with 1.
fn offset(text: &str, place: Location) -> usize {
    let (line, column) = (place.line as usize, place.column as usize);
    let begin: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = &text[begin..];
    let column = rest.char_indices().nth(column.saturating_sub(1));
    begin + column.map_or(rest.len(), |(at, _)| at)
}

/// The table as of the snapshot's epoch, which holds all files, also of later epochs.
pub(super) fn table(telemetry: &Telemetry) -> Result<ViewTable, Error> {
    let deleted = telemetry.deleted_by_now().map_err(Error::failed)?;
    let as_of = telemetry.epoch().0;
    let plan = || -> Result<LogicalPlan> {
        let hot = provider_as_source(Arc::new(PartTable(Hot::new(telemetry.clone()))));
        let hot = LogicalPlanBuilder::scan("hot", hot, None)?;
        let files = provider_as_source(Arc::new(PartTable(Files::of_all(telemetry))));
        let files = LogicalPlanBuilder::scan("archive", files, None)?;
        let mut files = files.filter(col("archive.epoch").lt_eq(lit(as_of)))?;
        if let Some(deleted) = deleted {
            let table = MemTable::try_new(deleted.schema(), vec![vec![deleted]])?;
            let list =
                LogicalPlanBuilder::scan("deleted", provider_as_source(Arc::new(table)), None)?;
            let same = ["asset", "metric", "event_time"]
                .map(|name| col(format!("deleted.{name}")).eq(col(format!("archive.{name}"))));
            let older = col("archive.epoch").lt(col("deleted.before_epoch"));
            let on = same.into_iter().chain([older]);
            files = list.join_on(files.build()?, JoinType::RightAnti, on)?;
        }
        let newest_first = row_number()
            .partition_by(vec![col("asset"), col("metric"), col("event_time")])
            .order_by(vec![col("epoch").sort(false, false)])
            .build()?;
        let columns = schema();
        let columns = columns.fields().iter().map(|field| col(field.name()));
        files
            .union(hot.build()?)?
            .window(vec![newest_first.alias(NUMBER)])?
            .filter(col(NUMBER).eq(lit(1_u64)))?
            .project(columns)?
            .build()
    };
    let plan = plan().map_err(|error| Error::from_datafusion(&error))?;
    Ok(ViewTable::new(plan, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clause_becomes_blanks() {
        let cases = [
            ("SELECT 1", ("SELECT 1", None)),
            (
                "SELECT *\nFROM telemetry as of\nsystem TIME '-1h' WHERE é = 1",
                ("SELECT *\nFROM telemetry      \n                  WHERE é = 1", Some("-1h")),
            ),
            (
                "SELECT 'é', 'as of system time 1' FROM t FOR SYSTEM_TIME AS OF 1795309851161",
                (
                    "SELECT 'é', 'as of system time 1' FROM t                                    ",
                    Some("1795309851161"),
                ),
            ),
        ];
        for (text, (rest, time)) in cases {
            let (split, found) = split(text).unwrap();
            assert_eq!(split, rest);
            assert_eq!(found.as_deref(), time);
        }
        for wrong in [
            "SELECT 1 AS OF SYSTEM TIME",
            "SELECT a AS OF SYSTEM TIME x",
            "SELECT a AS OF SYSTEM TIME '1' AS OF SYSTEM TIME '2'",
        ] {
            assert!(matches!(split(wrong), Err(Error::Syntax { .. })), "{wrong}");
        }
    }

    #[test]
    fn times_are_epochs() {
        let now = Epoch(1_795_309_851_161);
        assert_eq!(epoch("now", now).unwrap(), now);
        assert_eq!(epoch("-1h", now).unwrap(), Epoch(now.0 - 3_600_000));
        assert_eq!(epoch("1795309851000", now).unwrap(), Epoch(1_795_309_851_000));
        assert_eq!(epoch("2100-01-01T00:00:00Z", now).unwrap(), now);
        assert_eq!(epoch("1960-01-01", now).unwrap(), Epoch(0));
        assert!(epoch("yesterdayish", now).is_err());
    }
}
