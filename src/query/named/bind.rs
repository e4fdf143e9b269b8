//! Values for the parameters of a statement, and the plan that they are bound to.

use super::header::{Fallback, NamedQuery, Parameter};
use super::parameter::{ParameterType, ZONE};
use crate::model::Timestamp;
use crate::query::error::Error;
use crate::query::front::read_only;
use crate::query::statement::Asked;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{LogicalPlan, Statement as Planned};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// Values by the names of their parameters.
#[derive(Clone, Debug, Default)]
pub(in crate::query) struct Values(Vec<(String, ParameterType, ScalarValue)>);

impl Values {
    /// The values of a query's parameters: the given ones, else the defaults. Times are relative
    /// to `now`.
    pub fn of(
        query: &NamedQuery,
        given: &[(String, String)],
        now: Timestamp,
    ) -> Result<Self, Error> {
        let refused = |message: String| Error::Parameter { message, hint: Some(usage(query)) };
        for (at, (name, _)) in given.iter().enumerate() {
            if query.parameters.iter().all(|known| known.name != *name) {
                let message = format!("query '{}' has no parameter '{name}'", query.name);
                return Err(refused(message));
            }
            if given[..at].iter().any(|(before, _)| before == name) {
                return Err(refused(format!("parameter '{name}' is given twice")));
            }
        }
        let value = |parameter: &Parameter| {
            let name = &parameter.name;
            let given = given.iter().find(|(given, _)| given == name).map(|(_, text)| text);
            let text = match (given, &parameter.default) {
                (Some(text), _) | (None, Fallback::Text(text)) => text,
                (None, Fallback::Null) => return Ok(parameter.kind.null()),
                (None, Fallback::Required) => {
                    return Err(refused(format!("parameter '{name}' is missing")));
                }
            };
            parameter.kind.read(text, now).ok_or_else(|| {
                let expected = parameter.kind.expected();
                refused(format!("parameter '{name}' is '{text}', not {expected}"))
            })
        };
        let values = query.parameters.iter();
        let values = values.map(|p| Ok((p.name.clone(), p.kind, value(p)?)));
        values.collect::<Result<_, Error>>().map(Self)
    }
}

/// What a query wants, in one line.
fn usage(query: &NamedQuery) -> String {
    if query.parameters.is_empty() {
        return "it has no parameters".into();
    }
    let one = |parameter: &Parameter| {
        let default = match &parameter.default {
            Fallback::Required => String::new(),
            Fallback::Null => " (may be left out)".into(),
            Fallback::Text(text) => format!(" ({text} when left out)"),
        };
        format!("{} {}{default}", parameter.name, parameter.kind.name())
    };
    let all: Vec<String> = query.parameters.iter().map(one).collect();
    format!("parameters: {}", all.join(", "))
}

/// Plans a statement with its values bound as typed literals, and refuses what would write.
pub(in crate::query) async fn plan(
    context: &SessionContext,
    asked: Asked,
    values: Values,
) -> Result<LogicalPlan, Error> {
    let failed = |error| Error::from_datafusion(&error);
    let statement = prepared(asked.statement, &values)?;
    let mut state = context.state();
    let options = state.config_mut().options_mut();
    if !values.0.is_empty() {
        // So that the planned types are those of the columns.
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.time_zone = Some(ZONE.into());
    }
    let mut plan = state.statement_to_plan(statement).await.map_err(failed)?;
    if let LogicalPlan::Statement(Planned::Prepare(prepare)) = &plan {
        let typed = values.0.into_iter().zip(&prepare.fields);
        let typed: Result<Vec<ScalarValue>, _> =
            typed.map(|((_, _, value), field)| value.cast_to(field.data_type())).collect();
        plan = plan.with_param_values(typed.map_err(failed)?).map_err(failed)?;
    }
    read_only(&plan)?;
    Ok(plan)
}

/// The statement as a prepared one, so that the planner knows the types of its parameters.
fn prepared(statement: Statement, values: &Values) -> Result<Statement, Error> {
    let mut inner = match statement {
        Statement::Statement(inner) if matches!(*inner, ast::Statement::Query(_)) => inner,
        other if values.0.is_empty() => return Ok(other),
        _ => return Err(Error::refused("no SELECT", "a named query is one SELECT")),
    };
    if let ControlFlow::Break(error) = inner.visit(&mut Numbers(values)) {
        return Err(error);
    }
    if values.0.is_empty() {
        return Ok(Statement::Statement(inner));
    }
    let data_types = values.0.iter().map(|(_, kind, _)| kind.sql()).collect();
    let name = ast::Ident::new("query");
    let prepare = ast::Statement::Prepare { name, data_types, statement: inner };
    Ok(Statement::Statement(Box::new(prepare)))
}

/// Gives placeholders the numbers that prepared statements want.
struct Numbers<'a>(&'a Values);

impl VisitorMut for Numbers<'_> {
    type Break = Error;

    fn pre_visit_value(&mut self, value: &mut ast::ValueWithSpan) -> ControlFlow<Error> {
        let ast::Value::Placeholder(placeholder) = &mut value.value else {
            return ControlFlow::Continue(());
        };
        let known = placeholder
            .strip_prefix('$')
            .and_then(|wanted| self.0.0.iter().position(|(name, ..)| name == wanted));
        let Some(at) = known else {
            let names: Vec<&str> = self.0.0.iter().map(|(name, ..)| name.as_str()).collect();
            let hint = match names.as_slice() {
                [] => "parameters belong to the named queries, see /api/v1/queries".into(),
                names => format!("parameters: {}", names.join(", ")),
            };
            let message = format!("'{placeholder}' is no parameter");
            return ControlFlow::Break(Error::Parameter { message, hint: Some(hint) });
        };
        *placeholder = format!("${}", at + 1);
        ControlFlow::Continue(())
    }
}

/// The names of the placeholders that stand in a query.
pub(super) fn placeholders(statement: &mut Statement) -> Vec<String> {
    struct Names(Vec<String>);
    impl VisitorMut for Names {
        type Break = ();

        fn pre_visit_value(&mut self, value: &mut ast::ValueWithSpan) -> ControlFlow<()> {
            if let ast::Value::Placeholder(placeholder) = &value.value {
                self.0.push(placeholder.trim_start_matches('$').to_owned());
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(Vec::new());
    if let Statement::Statement(inner) = statement {
        let _ = inner.visit(&mut names);
    }
    names.0
}
