//! The front end's answers to questions in PostgreSQL's words.

use super::names::Names;
use super::read::{Parser, Statement};
use super::session::Parts;
use crate::query::answer::Answer;
use crate::query::error::Error;
use crate::query::front::{Inner, Query, Streamed, stream};
use crate::query::prepared::{Described, described, planned};
use crate::query::statement::Asked;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ParamValues;
use std::sync::Arc;
use std::time::Duration;

/// A statement that has rows as an answer. It is planned anew each time it is asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub(super) asked: Asked,
    pub(super) names: Names,
}

impl Question {
    /// The columns of an answer under PostgreSQL's names.
    pub fn named(&self, columns: &Schema) -> SchemaRef {
        let of = columns.fields().len();
        let renamed =
            columns.fields().iter().enumerate().map(|(at, field)| match self.names.get(at, of) {
                Some(name) if name != field.name() => Arc::new(Field::clone(field).with_name(name)),
                _ => Arc::clone(field),
            });
        Arc::new(Schema::new(renamed.collect::<Vec<_>>()))
    }
}

impl Query {
    /// Reads the statements of a text in PostgreSQL's dialect. None when it is empty. `user` is who
    /// asks.
    pub async fn read_postgres(&self, text: &str, user: &str) -> Result<Vec<Statement>, Error> {
        let (text, user) = (text.to_string(), user.to_string());
        let (read, _permit) = self
            .turn(self.limits().time, move |inner| async move {
                let parser = inner.postgres.parser.get_or_init(Parser::new);
                parser.read(&text, &user, &inner.limits)
            })
            .await?;
        Ok(read)
    }

    /// Plans a question without asking it.
    pub async fn describe(&self, question: &Arc<Question>) -> Result<Described, Error> {
        let question = Arc::clone(question);
        let (described, _permit) = self
            .turn(self.limits().time, move |inner| async move { inner.describe(&question).await })
            .await?;
        Ok(described)
    }

    /// Answers a question with values for its parameters, by the limits of [`Query::sql`] and
    /// within this time when that is shorter.
    pub async fn ask_postgres(
        &self,
        question: &Arc<Question>,
        values: ParamValues,
        time: Duration,
    ) -> Result<Answer, Error> {
        let question = Arc::clone(question);
        let ask = move |inner: Arc<Inner>| async move { inner.ask(&question, values).await };
        self.answer(time.min(self.limits().time), ask).await
    }
}

impl Inner {
    fn parts(&self) -> Parts<'_> {
        Parts { tables: &self.tables, env: &self.env, limits: &self.limits, shared: &self.postgres }
    }

    async fn describe(&self, question: &Question) -> Result<Described, Error> {
        let context = self.parts().bare(&question.asked).await?;
        let plan = planned(&context, question.asked.statement.clone()).await?;
        let described = described(&context, plan)?;
        Ok(Described { columns: question.named(&described.columns), ..described })
    }

    pub(in crate::query) async fn ask(
        &self,
        question: &Question,
        values: ParamValues,
    ) -> Result<Streamed, Error> {
        let failed = |error| Error::from_datafusion(&error);
        let (context, epoch, taken) = self.parts().open(&question.asked).await?;
        let plan = planned(&context, question.asked.statement.clone()).await?;
        let plan = plan.with_param_values(values).map_err(failed)?;
        stream(&context, plan, epoch, taken).await
    }
}
