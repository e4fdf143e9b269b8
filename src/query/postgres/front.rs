//! The front end's answers to questions in PostgreSQL's words.

use super::names::Names;
use super::parameters;
use super::read::{Parser, Statement};
use super::session::Parts;
use crate::query::answer::Answer;
use crate::query::error::Error;
use crate::query::front::{Inner, Query, Streamed, read_only, stream};
use crate::query::statement::Asked;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use std::sync::Arc;
use std::time::Duration;

/// A statement that has rows as an answer. It is planned anew each time it is asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub(super) asked: Asked,
    pub(super) names: Names,
}

/// What is known of a question before it is asked.
#[derive(Clone, Debug)]
pub struct Described {
    /// The columns of the answer, with PostgreSQL's names.
    pub columns: SchemaRef,
    /// Types of the parameters in order; `None` where any will do.
    pub parameters: Vec<Option<DataType>>,
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
    /// Reads the statements of a text in PostgreSQL's dialect. None when it is empty.
    pub async fn read_postgres(&self, text: &str) -> Result<Vec<Statement>, Error> {
        let text = text.to_string();
        let (read, _permit) = self
            .turn(self.limits().time, move |inner| async move {
                let parser = inner.postgres.parser.get_or_init(Parser::new);
                parser.read(&text, &inner.limits)
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
        let context = self.parts().bare(&question.asked)?;
        let plan = planned(&context, question).await?;
        let failed = |error| Error::from_datafusion(&error);
        let mut types: Vec<(usize, Option<DataType>)> = plan
            .get_parameter_types()
            .map_err(failed)?
            .into_iter()
            .map(|(name, kind)| Ok((number(&name)?, kind)))
            .collect::<Result<_, Error>>()?;
        types.sort_by_key(|(number, _)| *number);
        let count = types.last().map_or(0, |(number, _)| *number);
        let mut parameters = vec![None; count];
        let open = types.iter().any(|(_, kind)| kind.is_none());
        let mut inferred = if open { parameters::inferred(&plan) } else { Default::default() };
        for (number, kind) in types {
            parameters[number - 1] = kind.or_else(|| inferred.remove(&format!("${number}")));
        }
        // The types of the plan as it runs, where it can be made without values.
        let state = context.state();
        let ready =
            state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
        let plan = ready.unwrap_or(plan);
        Ok(Described { columns: question.named(plan.schema().as_arrow()), parameters })
    }

    async fn ask(&self, question: &Question, values: ParamValues) -> Result<Streamed, Error> {
        let failed = |error| Error::from_datafusion(&error);
        let (context, epoch, taken) = self.parts().open(&question.asked).await?;
        let plan = planned(&context, question).await?;
        let plan = plan.with_param_values(values).map_err(failed)?;
        stream(&context, plan, epoch, taken).await
    }
}

/// Most parameters of one question: their numbers are 16 bits wide on the wire.
const PARAMETERS: usize = 65_535;

/// The number of a parameter: 2 for `$2`.
fn number(name: &str) -> Result<usize, Error> {
    let number = name.strip_prefix('$').and_then(|number| number.parse().ok());
    number.filter(|number| (1..=PARAMETERS).contains(number)).ok_or_else(|| Error::Parameter {
        message: format!("'{name}' is no parameter"),
        hint: Some("parameters are $1, $2 and so on".into()),
    })
}

async fn planned(context: &SessionContext, question: &Question) -> Result<LogicalPlan, Error> {
    let statement = question.asked.statement.clone();
    let plan = context.state().statement_to_plan(statement).await;
    let plan = plan.map_err(|error| Error::from_datafusion(&error))?;
    read_only(&plan)?;
    Ok(plan)
}
