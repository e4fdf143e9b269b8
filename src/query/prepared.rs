//! Statements with values for numbered parameters, and what is known of a statement before it is
//! asked.
//!
//! A parameter is `$1`, `$2` and so on, or `?`, which is the next one in the order of the text.

use super::answer::Answer;
use super::database;
use super::error::Error;
use super::front::{Inner, Query, Streamed, read_only, stream};
use super::named;
use super::postgres::types_of;
use super::session::{self, register};
use super::statement::{self, Asked};
use super::telemetry;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, Visit, VisitMut, Visitor, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::Location;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Times without a zone are in this one.
const ZONE: &str = "+00:00";

/// What is known of a statement before it is asked.
#[derive(Clone, Debug)]
pub struct Described {
    /// The columns of the answer.
    pub columns: SchemaRef,
    /// Types of the parameters in order; `None` where any will do.
    pub parameters: Vec<Option<DataType>>,
}

/// A table that can be asked.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name, in the schema [`Table::SCHEMA`] of the catalog [`Table::CATALOG`].
    pub name: String,
    /// Its columns.
    pub columns: SchemaRef,
    /// Whether it changes by itself; else it is what came in.
    pub is_view: bool,
}

impl Table {
    /// The catalog of all tables.
    pub const CATALOG: &str = statement::CATALOG;
    /// The schema of all tables.
    pub const SCHEMA: &str = statement::SCHEMA;
}

impl Query {
    /// Plans a statement without asking it. With values, as in [`Query::sql_with`], the types of
    /// columns are those that they have by them.
    pub async fn describe_sql(
        &self,
        text: &str,
        row: Option<RecordBatch>,
    ) -> Result<Described, Error> {
        let (text, values) = (text.to_owned(), row.map(values).transpose()?);
        let describe =
            move |inner: Arc<Inner>| async move { inner.describe_sql(&text, values).await };
        let (described, _permit) = self.turn(self.limits().time, describe).await?;
        Ok(described)
    }

    /// Answers a statement by the limits of [`Query::sql`]. The one row has the values of its
    /// parameters, in order, which become of the types that their places want.
    pub async fn sql_with(&self, text: &str, row: Option<RecordBatch>) -> Result<Answer, Error> {
        let (text, values) = (text.to_owned(), row.map_or(Ok(Vec::new()), values)?);
        let ask = move |inner: Arc<Inner>| async move { inner.sql_with(&text, values).await };
        self.answer(self.limits().time, ask).await
    }

    /// All tables, in no order.
    pub fn tables(&self) -> Vec<Table> {
        let table = |(name, columns): (String, SchemaRef)| {
            let is_view = name != telemetry::NAME;
            Table { name, columns, is_view }
        };
        self.inner.tables.known().columns().map(table).collect()
    }
}

impl Inner {
    async fn describe_sql(
        &self,
        text: &str,
        values: Option<Vec<ScalarValue>>,
    ) -> Result<Described, Error> {
        let asked = numbered(statement::read(text, &self.limits)?);
        let context = session::empty(&self.env, &self.limits)?;
        let known = self.tables.known();
        known.named(&asked.tables)?;
        database::register(&context, self.tables.database.as_ref(), &asked.database).await?;
        for (name, columns) in known.columns() {
            if asked.about_tables || asked.tables.contains(&name) {
                register(&context, &name, Arc::new(EmptyTable::new(columns)))?;
            }
        }
        let context = match placeholders(&asked.statement).is_empty() {
            true => context,
            false => plain(&context),
        };
        let plan = planned(&context, asked.statement).await?;
        let Some(values) = values else { return described(&context, plan) };
        let parameters = types_of(&plan)?;
        let described = described(&context, bound(plan, values)?)?;
        Ok(Described { parameters, ..described })
    }

    async fn sql_with(&self, text: &str, values: Vec<ScalarValue>) -> Result<Streamed, Error> {
        let asked = numbered(statement::read(text, &self.limits)?);
        if values.is_empty() && placeholders(&asked.statement).is_empty() {
            return self.plan(asked, named::Values::default()).await;
        }
        let opened = session::open(&self.tables, &self.env, &self.limits, &asked).await?;
        let (context, epoch, taken) = opened;
        let plan = planned(&plain(&context), asked.statement).await?;
        stream(&context, bound(plan, values)?, epoch, taken).await
    }
}

/// The plan with values in place of its parameters.
fn bound(plan: LogicalPlan, values: Vec<ScalarValue>) -> Result<LogicalPlan, Error> {
    let types = types_of(&plan)?;
    if types.len() != values.len() {
        let message = format!("{} values for {} parameters", values.len(), types.len());
        return Err(Error::Parameter { message, hint: None });
    }
    let typed = values.into_iter().zip(types).enumerate().map(|(at, (value, kind))| {
        let Some(kind) = kind else { return Ok(value) };
        value.cast_to(&kind).map_err(|_| {
            let message = format!("parameter ${} is {value}, not of type {kind}", at + 1);
            Error::Parameter { message, hint: None }
        })
    });
    let values = typed.collect::<Result<Vec<ScalarValue>, Error>>()?;
    let plan = plan.with_param_values(ParamValues::from(values));
    plan.map_err(|error| Error::from_datafusion(&error))
}

/// The values in one row.
fn values(row: RecordBatch) -> Result<Vec<ScalarValue>, Error> {
    if row.num_rows() != 1 {
        let message = format!("{} rows of values", row.num_rows());
        let hint = Some("bind the values of one row, and ask again for the next".into());
        return Err(Error::Parameter { message, hint });
    }
    let values = row.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
    values.collect::<Result<_, _>>().map_err(|error| Error::from_datafusion(&error))
}

/// The columns and parameters of a plan.
pub(super) fn described(context: &SessionContext, plan: LogicalPlan) -> Result<Described, Error> {
    let parameters = types_of(&plan)?;
    // The types of the plan as it runs, where it can be made without values.
    let state = context.state();
    let ready = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
    let plan = ready.unwrap_or(plan);
    Ok(Described { columns: Arc::clone(plan.schema().inner()), parameters })
}

/// The same session for statements with parameters: planned types are those of the columns.
fn plain(context: &SessionContext) -> SessionContext {
    let mut state = context.state();
    let options = state.config_mut().options_mut();
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some(ZONE.into());
    SessionContext::new_with_state(state)
}

/// The plan of a statement, which reads and nothing else.
pub(super) async fn planned(
    context: &SessionContext,
    statement: Statement,
) -> Result<LogicalPlan, Error> {
    let plan = context.state().statement_to_plan(statement).await;
    let plan = plan.map_err(|error| Error::from_datafusion(&error))?;
    read_only(&plan)?;
    Ok(plan)
}

/// The parameters in a statement, with their places in the text.
fn placeholders(statement: &Statement) -> Vec<(Location, String)> {
    struct Found(Vec<(Location, String)>);
    impl Visitor for Found {
        type Break = ();

        fn pre_visit_value(&mut self, value: &ast::ValueWithSpan) -> ControlFlow<()> {
            if let ast::Value::Placeholder(name) = &value.value {
                self.0.push((value.span.start, name.clone()));
            }
            ControlFlow::Continue(())
        }
    }
    let mut found = Found(Vec::new());
    if let Statement::Statement(inner) = statement {
        let _ = inner.visit(&mut found);
    }
    found.0
}

/// The statement with a number for each `?`.
fn numbered(mut asked: Asked) -> Asked {
    struct Number(Vec<Location>);
    impl VisitorMut for Number {
        type Break = ();

        fn pre_visit_value(&mut self, value: &mut ast::ValueWithSpan) -> ControlFlow<()> {
            if let ast::Value::Placeholder(name) = &mut value.value
                && name == "?"
                && let Some(at) = self.0.iter().position(|place| *place == value.span.start)
            {
                *name = format!("${}", at + 1);
            }
            ControlFlow::Continue(())
        }
    }
    let found = placeholders(&asked.statement).into_iter();
    let mut places: Vec<Location> =
        found.filter(|(_, name)| name == "?").map(|(place, _)| place).collect();
    places.sort_unstable();
    if let Statement::Statement(inner) = &mut asked.statement {
        let _ = inner.visit(&mut Number(places));
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Limits;

    #[test]
    fn question_marks_are_numbered_as_they_stand_in_the_text() {
        let text =
            "SELECT CASE WHEN a > ? THEN ? END\nFROM t WHERE b IN (?, ?) AND c = '?' LIMIT ?";
        let expected = "SELECT CASE WHEN a > $1 THEN $2 END \
                        FROM t WHERE b IN ($3, $4) AND c = '?' LIMIT $5";
        let asked = numbered(statement::read(text, &Limits::default()).unwrap());
        assert_eq!(asked.statement.to_string(), expected);
    }
}
