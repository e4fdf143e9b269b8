//! From text to something that computes whole columns.

use super::error::{Error, shown};
use super::{jsonata, known, sql};
use crate::model::DataType;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow::datatypes::{DataType as Arrow, Field, Float64Type, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;
/// The most parts (literals, names, operators, calls) of an expression.
pub const MAX_NODES: usize = 500;
/// How deep the parts of an expression may be nested.
pub const MAX_DEPTH: usize = 64;

/// The text of an expression and the language it is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// The JSONata subset.
    Jsonata(&'a str),
    /// A SQL scalar expression over the metric names as columns.
    Sql(&'a str),
}

/// What an expression can read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Metrics by name (any characters) with their types; names are unique.
    pub fields: Vec<(String, DataType)>,
}

/// What the result must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// A number of this type; a bool counts as 1 and 0.
    Number(DataType),
    /// True, false or unknown.
    Condition,
    /// A value of this type; numbers and bools become numbers, nothing becomes text by itself.
    Value(DataType),
}

/// An expression that is ready to compute columns. Cloning is cheap.
#[derive(Clone)]
pub struct Compiled {
    inner: Arc<Inner>,
}

struct Inner {
    text: String,
    expression: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    inputs: Vec<usize>,
    output: Arrow,
}

pub(super) static CONTEXT: LazyLock<SessionContext> = LazyLock::new(|| {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.enable_ident_normalization = false;
    SessionContext::new_with_config(config)
});

/// Compiles an expression for a scope.
///
/// Integers and bools are numbers where arithmetic needs them; division is division of floats and
/// has no value where the divisor is zero. In conditions three-valued logic holds: a comparison
/// with a missing value is unknown.
///
/// The same asked for again costs a look-up.
pub fn compile(source: Source<'_>, scope: &Scope, want: Want) -> Result<Compiled, Error> {
    known::or_else(source, scope, want, || compile_anew(source, scope, want))
}

fn compile_anew(source: Source<'_>, scope: &Scope, want: Want) -> Result<Compiled, Error> {
    let text = source.text();
    if text.len() > MAX_LENGTH {
        return Err(Error::Limit {
            expression: shown(text),
            what: "the length in bytes",
            found: text.len(),
            limit: MAX_LENGTH,
        });
    }
    let expression = match source {
        Source::Jsonata(text) => jsonata::translate(text, scope, want)?,
        Source::Sql(text) => sql::plan(text, scope, want)?,
    };
    let read = expression.column_refs();
    let reads = |name: &str| read.iter().any(|column| column.name == name);
    let inputs: Vec<usize> =
        (0..scope.fields.len()).filter(|i| reads(&scope.fields[*i].0)).collect();
    let schema = schema(scope, inputs.iter().copied());
    let physical = physical(&expression, &schema).map_err(|problem| Error::Type {
        expression: shown(text),
        problem,
        hint: None,
    })?;
    let output = want.data_type().arrow();
    let inner = Inner { text: text.into(), expression: physical, schema, inputs, output };
    Ok(Compiled { inner: Arc::new(inner) })
}

impl<'a> Source<'a> {
    /// The text, whatever the language.
    pub fn text(self) -> &'a str {
        match self {
            Self::Jsonata(text) | Self::Sql(text) => text,
        }
    }
}

impl Want {
    /// The type of the resulting column.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Number(data_type) | Self::Value(data_type) => data_type,
            Self::Condition => DataType::Bool,
        }
    }
}

impl Compiled {
    /// The places in the scope's fields that it reads, ascending.
    pub fn inputs(&self) -> &[usize] {
        &self.inner.inputs
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// Computes a column of `rows` values from one column for each input, in the same order.
    ///
    /// The result is `Float64`, `Int64`, `Boolean` or `Utf8`, as wanted; null where it is unknown
    /// and where a float is not finite. An error says that at least one row cannot be computed
    /// (only SQL has such: a cast of a text that is no number, an integer divided by zero) or
    /// that the columns are not those of the scope; see [`Compiled::evaluate_rows`].
    pub fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef, Error> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(
            Arc::clone(&self.inner.schema),
            columns.to_vec(),
            &options,
        )
        .map_err(|error| self.failed(error.to_string()))?;
        let values = (self.inner.expression.evaluate(&batch))
            .and_then(|values| values.into_array(rows))
            .map_err(|error| self.failed(first_line(&error.strip_backtrace())))?;
        Ok(finite(values))
    }

    /// As [`Compiled::evaluate`], but rows that cannot be computed are null and come with their
    /// errors, in ascending order. Good rows cost the same; each bad one a few evaluations more.
    pub fn evaluate_rows(
        &self,
        columns: &[ArrayRef],
        rows: usize,
    ) -> (ArrayRef, Vec<(usize, Error)>) {
        match self.evaluate(columns, rows) {
            Ok(values) => (values, Vec::new()),
            Err(error) if rows <= 1 => {
                let errors = if rows == 1 { vec![(0, error)] } else { Vec::new() };
                (new_null_array(&self.inner.output, rows), errors)
            }
            Err(error) => {
                let half = rows / 2;
                let part = |from, length| -> (ArrayRef, Vec<(usize, Error)>) {
                    let columns: Vec<_> = columns.iter().map(|c| c.slice(from, length)).collect();
                    self.evaluate_rows(&columns, length)
                };
                if columns.iter().any(|column| column.len() != rows) {
                    return (new_null_array(&self.inner.output, rows), vec![(0, error)]);
                }
                let (left, mut errors) = part(0, half);
                let (right, more) = part(half, rows - half);
                errors.extend(more.into_iter().map(|(row, error)| (row + half, error)));
                let values = arrow::compute::concat(&[left.as_ref(), right.as_ref()])
                    .unwrap_or_else(|_| new_null_array(&self.inner.output, rows));
                (values, errors)
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    fn failed(&self, problem: String) -> Error {
        Error::Evaluate { expression: shown(&self.inner.text), problem }
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Compiled").field(&self.inner.text).finish()
    }
}

/// The columns at some places of the scope.
pub(super) fn schema(scope: &Scope, places: impl Iterator<Item = usize>) -> SchemaRef {
    let field = |i: usize| Field::new(&scope.fields[i].0, scope.fields[i].1.arrow(), true);
    Arc::new(Schema::new(places.map(field).collect::<Vec<_>>()))
}

/// The physical expression over columns.
pub(super) fn physical(
    expression: &Expr,
    schema: &SchemaRef,
) -> Result<Arc<dyn PhysicalExpr>, String> {
    let columns = DFSchema::try_from(Arc::clone(schema))
        .map_err(|error| first_line(&error.strip_backtrace()))?;
    // Some functions, `coalesce` among them, exist only until they are simplified.
    let simplify = SimplifyContext::builder().with_schema(Arc::new(columns.clone())).build();
    let simplifier = ExprSimplifier::new(simplify);
    (simplifier.coerce(expression.clone(), &columns))
        .and_then(|expression| simplifier.simplify(expression))
        .and_then(|expression| CONTEXT.create_physical_expr(expression, &columns))
        .map_err(|error| first_line(&error.strip_backtrace()))
}

pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// Makes floats that are no numbers null.
fn finite(values: ArrayRef) -> ArrayRef {
    let Some(floats) = values.as_primitive_opt::<Float64Type>() else { return values };
    if floats.values().iter().all(|value| value.is_finite()) {
        return values;
    }
    let kept: Float64Array =
        floats.iter().map(|value| value.filter(|value| value.is_finite())).collect();
    Arc::new(kept)
}
