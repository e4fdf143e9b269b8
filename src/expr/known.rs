//! Expressions that were compiled before. Every worker compiles every document, a start those of
//! the log, and a verification all versions: what planning an expression costs is paid once.

use super::compile::{Compiled, Scope, Source, Want};
use crate::model::DataType;
use hashbrown::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// How many are kept. At the limit all are forgotten, which costs time and nothing else.
const KEPT: usize = 1_024;

/// All that the result depends on.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    is_sql: bool,
    text: String,
    fields: Vec<(String, DataType)>,
    want: Want,
}

static KNOWN: LazyLock<Mutex<HashMap<Key, Compiled>>> = LazyLock::new(Mutex::default);

/// The expression as it was compiled before, or as `compile` makes it now. Errors are not kept.
pub(super) fn or_else<E>(
    source: Source<'_>,
    scope: &Scope,
    want: Want,
    compile: impl FnOnce() -> Result<Compiled, E>,
) -> Result<Compiled, E> {
    let is_sql = matches!(source, Source::Sql(_));
    let (text, fields) = (source.text().to_owned(), scope.fields.clone());
    let key = Key { is_sql, text, fields, want };
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(compiled) = known().get(&key) {
        return Ok(compiled.clone());
    }
    let compiled = compile()?;
    let mut known = known();
    if known.len() >= KEPT {
        known.clear();
    }
    known.insert(key, compiled.clone());
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::*;

    #[test]
    fn what_differs_in_anything_is_compiled_by_itself() {
        let scope = |data_type| Scope { fields: vec![("x".into(), data_type)] };
        let (double, whole) = (scope(DataType::Double), scope(DataType::Integer));
        let number = Want::Number(DataType::Double);
        let all = [
            (Source::Jsonata("x = 1"), &double, Want::Condition),
            (Source::Sql("x = 1"), &double, Want::Condition),
            (Source::Sql("x = 1"), &double, number),
            (Source::Sql("x = 1"), &whole, number),
            (Source::Sql("x = 2"), &whole, number),
        ];
        let compiled: Vec<_> =
            all.map(|(source, scope, want)| compile(source, scope, want).unwrap()).into();
        for (i, (source, scope, want)) in all.into_iter().enumerate() {
            let again = compile(source, scope, want).unwrap();
            for (j, other) in compiled.iter().enumerate() {
                assert_eq!(again.is_same(other), i == j, "{source:?} {want:?} and {:?}", all[j].0);
            }
        }
    }
}
