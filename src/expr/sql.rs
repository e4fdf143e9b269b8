//! SQL scalar expressions: planned by DataFusion, checked for what has no place here.

use super::compile::{CONTEXT, MAX_DEPTH, MAX_NODES, Scope, Want, first_line, physical, schema};
use super::error::{Error, shown};
use super::names;
use crate::model::DataType;
use arrow::datatypes::DataType as Arrow;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion, TreeNodeVisitor};
use datafusion::common::{DFSchema, DataFusionError, SchemaError};
use datafusion::logical_expr::{Expr, Volatility, cast};

/// The logical expression of a SQL text, cast to what is wanted.
pub(super) fn plan(text: &str, scope: &Scope, want: Want) -> Result<Expr, Error> {
    let all = schema(scope, 0..scope.fields.len());
    let syntax = |problem: String| Error::Syntax { expression: shown(text), problem, hint: None };
    let columns = DFSchema::try_from(std::sync::Arc::clone(&all))
        .map_err(|error| syntax(first_line(&error.strip_backtrace())))?;
    let expression =
        CONTEXT.parse_sql_expr(text, &columns).map_err(|error| refused(text, scope, &error))?;
    let expression = expression.unalias();
    permitted(text, &expression)?;
    let found = physical(&expression, &all)
        .and_then(|p| p.data_type(&all).map_err(|error| first_line(&error.strip_backtrace())))
        .map_err(|problem| Error::Type { expression: shown(text), problem, hint: None })?;
    fits(text, &found, want)?;
    Ok(cast(expression, want.data_type().arrow()))
}

fn refused(text: &str, scope: &Scope, error: &DataFusionError) -> Error {
    if let DataFusionError::SchemaError(schema, _) = error.find_root()
        && let SchemaError::FieldNotFound { field, .. } = schema.as_ref()
    {
        let name = field.flat_name();
        return Error::UnknownMetric {
            expression: shown(text),
            position: text.find(&field.name),
            hint: names::hint(&name, text, scope, '"'),
            name,
        };
    }
    let problem = first_line(&error.strip_backtrace());
    Error::Syntax { expression: shown(text), problem, hint: None }
}

/// Refuses what reads more than the row, or gives another result tomorrow.
fn permitted(text: &str, expression: &Expr) -> Result<(), Error> {
    let mut walk = Walk::default();
    let walked = expression.visit(&mut walk);
    let what = walk.forbidden.or_else(|| walked.err().map(|error| error.strip_backtrace()));
    if let Some(what) = what {
        return Err(Error::NotSupported { expression: shown(text), what });
    }
    for (what, found, limit) in
        [("the number of parts", walk.nodes, MAX_NODES), ("the depth", walk.deepest, MAX_DEPTH)]
    {
        if found > limit {
            return Err(Error::Limit { expression: shown(text), what, found, limit });
        }
    }
    Ok(())
}

#[derive(Default)]
struct Walk {
    nodes: usize,
    depth: usize,
    deepest: usize,
    forbidden: Option<String>,
}

impl<'n> TreeNodeVisitor<'n> for Walk {
    type Node = Expr;

    fn f_down(&mut self, part: &'n Expr) -> Result<TreeNodeRecursion, DataFusionError> {
        self.nodes += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        self.forbidden = match part {
            Expr::AggregateFunction(call) => {
                Some(format!("the aggregate function {}()", call.func.name()))
            }
            Expr::WindowFunction(_) => Some("window functions".into()),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) => {
                Some("subqueries".into())
            }
            Expr::Placeholder(_) | Expr::ScalarVariable(..) => Some("parameters".into()),
            Expr::Unnest(_) => Some("unnest".into()),
            Expr::ScalarFunction(call)
                if call.func.signature().volatility != Volatility::Immutable =>
            {
                Some(format!("{}(), which depends on more than the row", call.func.name()))
            }
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    }

    fn f_up(&mut self, _: &'n Expr) -> Result<TreeNodeRecursion, DataFusionError> {
        self.depth -= 1;
        Ok(TreeNodeRecursion::Continue)
    }
}

fn fits(text: &str, found: &Arrow, want: Want) -> Result<(), Error> {
    let number = found.is_numeric() || *found == Arrow::Boolean || found.is_null();
    let texts = matches!(found, Arrow::Utf8 | Arrow::Utf8View | Arrow::LargeUtf8 | Arrow::Null);
    let (fits, wanted) = match want {
        Want::Number(_) | Want::Value(DataType::Double | DataType::Integer) => (number, "a number"),
        Want::Condition | Want::Value(DataType::Bool) => {
            (matches!(found, Arrow::Boolean | Arrow::Null), "a condition")
        }
        Want::Value(DataType::String) => (texts, "a text"),
    };
    if fits {
        return Ok(());
    }
    let problem = format!("the result is {found}, expected {wanted}");
    Err(Error::Type { expression: shown(text), problem, hint: None })
}
