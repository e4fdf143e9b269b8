//! `COPY ... TO STDOUT`: rows as lines.

use super::error::error;
use crate::query::CopyForm;
use bytes::{Buf, Bytes};
use futures::{Sink, SinkExt, StreamExt};
use pgwire::api::results::{QueryResponse, Tag};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use pgwire::messages::data::DataRow;

/// Sends the rows of an answer, whose values are texts, as they come.
pub(super) async fn send<C>(
    client: &mut C,
    mut answer: QueryResponse,
    form: &CopyForm,
) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let columns = answer.row_schema();
    let count = i16::try_from(columns.len());
    let count = count.map_err(|_| error("54011", "more columns than a row may have"))?;
    let begin = CopyOutResponse::new(0, count, vec![0; columns.len()]);
    client.feed(PgWireBackendMessage::CopyOutResponse(begin)).await?;
    if form.header {
        let names: Vec<Option<&str>> = columns.iter().map(|column| Some(column.name())).collect();
        client.feed(PgWireBackendMessage::CopyData(line(&names, form))).await?;
    }
    let mut rows = 0;
    while let Some(row) = answer.data_rows().next().await {
        let row = row?;
        client.feed(PgWireBackendMessage::CopyData(line(&values(&row)?, form))).await?;
        rows += 1;
    }
    client.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
    let tag = Tag::new("COPY").with_rows(rows);
    client.send(PgWireBackendMessage::CommandComplete(tag.into())).await?;
    Ok(())
}

/// The values of a row: each is its length and its text, or the length -1.
fn values(row: &DataRow) -> PgWireResult<Vec<Option<&str>>> {
    let wrong = || error("XX000", "a row that cannot be read");
    let mut rest: &[u8] = &row.data;
    let mut values = Vec::new();
    while rest.remaining() >= 4 {
        match usize::try_from(rest.get_i32()) {
            Err(_) => values.push(None),
            Ok(length) => {
                let (value, others) = rest.split_at_checked(length).ok_or_else(wrong)?;
                values.push(Some(std::str::from_utf8(value).map_err(|_| wrong())?));
                rest = others;
            }
        }
    }
    Ok(values)
}

fn line(values: &[Option<&str>], form: &CopyForm) -> CopyData {
    let mut line = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            line.push(form.delimiter);
        }
        match value {
            None => line.push_str(&form.null),
            Some(value) if form.csv => push_csv(&mut line, value, form, values.len() == 1),
            Some(value) => push_text(&mut line, value, form),
        }
    }
    line.push('\n');
    CopyData::new(Bytes::from(line))
}

/// A value in quotes where it has to be.
fn push_csv(line: &mut String, value: &str, form: &CopyForm, alone: bool) {
    let special = |c: char| c == form.delimiter || c == form.quote || c == '\n' || c == '\r';
    if value != form.null && !value.contains(special) && !(alone && value == "\\.") {
        line.push_str(value);
        return;
    }
    line.push(form.quote);
    for c in value.chars() {
        if c == form.quote || c == form.escape {
            line.push(form.escape);
        }
        line.push(c);
    }
    line.push(form.quote);
}

/// A value with a backslash before what would end it.
fn push_text(line: &mut String, value: &str, form: &CopyForm) {
    for c in value.chars() {
        let short = match c {
            '\\' => '\\',
            '\u{8}' => 'b',
            '\u{c}' => 'f',
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            '\u{b}' => 'v',
            c if c == form.delimiter => c,
            c => {
                line.push(c);
                continue;
            }
        };
        line.push('\\');
        line.push(short);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_so_that_they_can_be_read() {
        let text = CopyForm {
            csv: false,
            header: false,
            delimiter: '\t',
            null: "\\N".into(),
            quote: '"',
            escape: '"',
        };
        let csv = CopyForm { csv: true, delimiter: ',', null: String::new(), ..text.clone() };
        let values = [Some("a,b"), None, Some(""), Some("tab\tline\n"), Some("say \"hi\" \\ ")];
        let written = |form: &CopyForm| {
            let line = line(&values, form);
            String::from_utf8(line.data.to_vec()).unwrap()
        };
        // As PostgreSQL 16 writes them.
        assert_eq!(written(&text), "a,b\t\\N\t\ttab\\tline\\n\tsay \"hi\" \\\\ \n");
        assert_eq!(written(&csv), "\"a,b\",,\"\",\"tab\tline\n\",\"say \"\"hi\"\" \\ \"\n");
    }
}
