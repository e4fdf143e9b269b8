//! Cursors: questions that a client declares in a transaction, and whose rows it fetches some at a
//! time, with as long a pause in between as a cursor of the front end may wait.

use super::door::{Door, Held};
use super::error::{asked, error};
use super::rows::{Rows, columns};
use crate::query::{Cursor, Question, Values};
use futures::{StreamExt, stream};
use pgwire::api::ClientInfo;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::response::TransactionStatus;
use std::sync::Arc;
use std::time::Duration;

/// Rows that are read ahead of the client.
const PIECE_ROWS: usize = 4_096;

/// A question and where the client is in its rows.
pub(super) struct Declared {
    question: Arc<Question>,
    text: Arc<str>,
    cursor: Cursor,
}

impl Door {
    /// Declares a cursor.
    pub async fn declare<C: ClientInfo>(
        &self,
        client: &C,
        name: &str,
        question: &Arc<Question>,
        (values, text): (Values, &Arc<str>),
    ) -> PgWireResult<()> {
        Self::check_transaction(client)?;
        if !matches!(client.transaction_status(), TransactionStatus::Transaction) {
            return Err(error("25P01", "DECLARE CURSOR can only be used in transaction blocks"));
        }
        if self.declared().contains_key(name) {
            return Err(error("42P03", format!("cursor \"{name}\" already exists")));
        }
        self.hold(Held::Portal(name.to_owned()), name.len() + text.len())?;
        let cursor = self.query()?.cursor_postgres(question, values).await;
        let cursor = cursor.map_err(|wrong| {
            self.let_go(&Held::Portal(name.to_owned()));
            asked(wrong, text)
        })?;
        let (question, text) = (Arc::clone(question), Arc::clone(text));
        self.declared().insert(name.to_owned(), Declared { question, text, cursor });
        Ok(())
    }

    /// The columns of a cursor, when there is one.
    pub fn cursor_columns(
        &self,
        name: &str,
        format: &Format,
    ) -> Option<PgWireResult<Vec<FieldInfo>>> {
        let declared = self.declared();
        let found = declared.get(name)?;
        Some(columns(&found.question.named(&found.cursor.schema()), format))
    }

    /// The next rows of a cursor, so many or all. While they are sent nobody else has the cursor, and
    /// nobody has it again when something goes wrong.
    pub fn fetch(
        &self,
        name: &str,
        rows: Option<usize>,
        format: &Format,
    ) -> PgWireResult<QueryResponse> {
        let told = self.cursor_columns(name, format).unwrap_or_else(|| Err(no_cursor(name)))?;
        let told = Arc::new(told);
        let declared = self.declared().remove(name).ok_or_else(|| no_cursor(name))?;
        let time = self.session().statement_timeout().unwrap_or(Duration::MAX);
        let state = (self.clone(), name.to_owned(), declared, rows.unwrap_or(usize::MAX), false);
        let columns = Arc::clone(&told);
        let pieces = stream::unfold(Some(state), move |state| {
            let columns = Arc::clone(&columns);
            async move {
                let (door, name, mut declared, left, last) = state?;
                if left == 0 || last {
                    door.declared().insert(name, declared);
                    return None;
                }
                let piece = match declared.cursor.next(left.min(PIECE_ROWS), time).await {
                    Ok(piece) => piece,
                    Err(wrong) => return Some((vec![Err(asked(wrong, &declared.text))], None)),
                };
                let read: usize = piece.batches.iter().map(|batch| batch.num_rows()).sum();
                let rows = piece.batches.iter().map(|batch| Rows::new(batch, Arc::clone(&columns)));
                let next = (door, name, declared, left - read, piece.last);
                Some((rows.collect(), Some(next)))
            }
        });
        let rows = pieces.flat_map(|pieces: Vec<PgWireResult<Rows>>| {
            stream::iter(pieces).flat_map(|rows| match rows {
                Ok(rows) => stream::iter(rows).left_stream(),
                Err(wrong) => stream::iter([Err::<_, PgWireError>(wrong)]).right_stream(),
            })
        });
        let mut response = QueryResponse::new(told, rows);
        response.set_command_tag("FETCH");
        Ok(response)
    }

    /// Closes a cursor, or all.
    pub fn close(&self, name: Option<&str>) -> PgWireResult<()> {
        match name {
            None => self.close_all(),
            Some(name) => {
                self.declared().remove(name).ok_or_else(|| no_cursor(name))?;
                self.let_go(&Held::Portal(name.to_owned()));
            }
        }
        Ok(())
    }

    /// Closes all cursors, as the end of a transaction does.
    pub fn close_all(&self) {
        let closed: Vec<String> = self.declared().drain().map(|(name, _)| name).collect();
        for name in closed {
            self.let_go(&Held::Portal(name));
        }
    }
}

fn no_cursor(name: &str) -> PgWireError {
    error("34000", format!("cursor \"{name}\" does not exist"))
}
