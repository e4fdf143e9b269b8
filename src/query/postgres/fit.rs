//! Questions about the catalog, made to fit the planner.
//!
//! What is changed here only stands in questions that tools ask about tables; questions about the plant
//! are planned as they were written.

use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    TableFactor, Value, VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

/// Tables of the catalog in which there is nothing about the tables of the plant.
pub(super) const EMPTY: [&str; 8] = [
    "pg_attrdef",
    "pg_constraint",
    "pg_index",
    "pg_inherits",
    "pg_policy",
    "pg_rewrite",
    "pg_sequence",
    "pg_trigger",
];

/// Functions that make one row of many.
const AGGREGATES: [&str; 9] =
    ["array_agg", "avg", "bool_and", "bool_or", "count", "max", "min", "string_agg", "sum"];

/// Makes a statement fit.
pub(super) fn fit(statement: &mut ast::Statement) {
    let _ = statement.visit(&mut Fit);
}

struct Fit;

impl VisitorMut for Fit {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Subquery(query) if asks_nothing(query) => *expr = null(DataType::Text),
            Expr::Subquery(query) => one_row(query),
            // The planner makes no array of a subquery: nobody is a member of anything here.
            Expr::Function(function) if is_array_of_rows(function) => {
                let texts = ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None);
                *expr = null(DataType::Array(texts));
            }
            Expr::Cast { expr: inner, data_type: DataType::Regclass, .. }
                if is_placeholder(inner) =>
            {
                *expr = call("to_regclass", vec![inner.as_ref().clone()]);
            }
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                escape(pattern, escape_char);
            }
            // What the compatible parser makes of Grafana's look at the search path.
            Expr::InList { list, .. } if matches!(list.as_slice(), [only] if is_text(only, "")) => {
                *list = vec![text("public")];
            }
            Expr::Identifier(ident) if is_user(ident) => *expr = call("session_user", Vec::new()),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn select(query: &Query) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// Whether a subquery is about nothing that there is.
fn asks_nothing(query: &Query) -> bool {
    let Some([from]) = select(query).map(|select| select.from.as_slice()) else { return false };
    let TableFactor::Table { name, .. } = &from.relation else { return false };
    let name = name.0.last().and_then(|part| part.as_ident());
    from.joins.is_empty() && name.is_some_and(|name| EMPTY.contains(&name.value.as_str()))
}

/// Says that a subquery has one row, which the planner wants to see.
fn one_row(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_mut_slice()
    else {
        return;
    };
    let aggregated = matches!(item, Expr::Function(function) if name_of(function)
        .is_some_and(|name| AGGREGATES.contains(&name.to_lowercase().as_str())));
    if !aggregated && !select.from.is_empty() {
        *item = call("max", vec![item.clone()]);
        query.limit_clause = None;
        query.order_by = None;
    }
}

fn is_array_of_rows(function: &Function) -> bool {
    let array = name_of(function).is_some_and(|name| name.eq_ignore_ascii_case("array"));
    array && matches!(function.args, FunctionArguments::Subquery(_))
}

fn name_of(function: &Function) -> Option<&str> {
    Some(function.name.0.last()?.as_ident()?.value.as_str())
}

fn is_placeholder(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

fn is_text(expr: &Expr, expected: &str) -> bool {
    matches!(expr, Expr::Value(value)
        if matches!(&value.value, Value::SingleQuotedString(text) if text == expected))
}

fn is_user(ident: &Ident) -> bool {
    ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("user")
}

/// The planner knows patterns with a backslash only.
fn escape(pattern: &mut Box<Expr>, escape_char: &mut Option<ast::ValueWithSpan>) {
    let other = match escape_char.as_ref().map(|escape| &escape.value) {
        Some(Value::SingleQuotedString(other)) if other != "\\" => other.clone(),
        _ => return,
    };
    let plain = call("replace", vec![pattern.as_ref().clone(), text("\\"), text("\\\\")]);
    **pattern = call("replace", vec![plain, text(&other), text("\\")]);
    *escape_char = None;
}

fn null(data_type: DataType) -> Expr {
    let null = Box::new(Expr::Value(Value::Null.into()));
    Expr::Cast {
        kind: ast::CastKind::DoubleColon,
        expr: null,
        data_type,
        array: false,
        format: None,
    }
}

fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.into()).into())
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)));
    let list = FunctionArgumentList {
        duplicate_treatment: None,
        args: args.collect(),
        clauses: Vec::new(),
    };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
