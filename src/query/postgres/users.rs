//! Who asks, where a question says `current_user`.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, Ident, Select, SelectItem, Value, VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

/// Words for the one who asks.
const WORDS: [&str; 4] = ["current_user", "session_user", "current_role", "user"];

/// Puts the name of the one who asks where a question has a word for it.
pub(super) fn name(statement: &mut Statement, user: &str) {
    struct Name<'a>(&'a str);
    impl VisitorMut for Name<'_> {
        type Break = ();

        /// The planner wants no two columns of one name, and they would be called as their value.
        /// What the client is told is as the text says.
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            let mut seen = Vec::new();
            for (at, item) in select.projection.iter_mut().enumerate() {
                if let SelectItem::UnnamedExpr(expr) = item
                    && let Some(word) = word(expr)
                {
                    let again = if seen.contains(&word) { format!(" {at}") } else { String::new() };
                    seen.push(word);
                    let alias = Ident::with_quote('"', format!("{word}{again}"));
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if word(expr).is_some() {
                *expr = Expr::Value(Value::SingleQuotedString(self.0.to_owned()).into());
            }
            ControlFlow::Continue(())
        }
    }
    if let Statement::Statement(inner) = statement {
        let _ = inner.visit(&mut Name(user));
    }
}

/// The word for the one who asks that an expression is.
fn word(expr: &Expr) -> Option<&'static str> {
    let ident = match expr {
        Expr::Identifier(ident) => ident,
        Expr::Function(function) if has_no_arguments(&function.args) => {
            let [name] = function.name.0.as_slice() else { return None };
            name.as_ident()?
        }
        _ => return None,
    };
    let known = WORDS.into_iter().find(|word| ident.value.eq_ignore_ascii_case(word));
    known.filter(|_| ident.quote_style.is_none())
}

fn has_no_arguments(arguments: &FunctionArguments) -> bool {
    match arguments {
        FunctionArguments::None => true,
        FunctionArguments::List(list) => list.args.is_empty(),
        FunctionArguments::Subquery(_) => false,
    }
}
