//! Looks at the tokens of a text before anything recursive does.
//!
//! Parsers, planners and even the freeing of a syntax tree recurse, and a stack that overflows
//! takes the process down. Counting tokens does not recurse.

use super::error::Error;
use super::limits::Limits;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Words that build a deeper tree like an operator does.
const OPERATOR_WORDS: [&str; 23] = [
    "AND",
    "OR",
    "XOR",
    "NOT",
    "IS",
    "IN",
    "LIKE",
    "ILIKE",
    "RLIKE",
    "REGEXP",
    "SIMILAR",
    "BETWEEN",
    "DIV",
    "COLLATE",
    "AT",
    "OVERLAPS",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "MINUS",
    "ISNULL",
    "NOTNULL",
    "INTERVAL",
];

/// Refuses a text that is too long, too deep or has too many operators. The dialect is that of the
/// parser that comes after.
pub(super) fn check_text(text: &str, dialect: &dyn Dialect, limits: &Limits) -> Result<(), Error> {
    if text.len() > limits.text_bytes {
        let message = format!("{} bytes of SQL, at most {}", text.len(), limits.text_bytes);
        return Err(Error::limit(message, "ask in several queries"));
    }
    let tokens = Tokenizer::new(dialect, text)
        .tokenize()
        .map_err(|error| Error::Syntax { message: error.to_string(), hint: None })?;
    let (mut depth, mut cases, mut operators, mut joins) = (0_usize, 0_usize, 0_usize, 0_usize);
    for token in &tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Word(word) if word.quote_style.is_none() => {
                let upper = word.value.to_ascii_uppercase();
                match upper.as_str() {
                    "CASE" => cases += 1,
                    "END" => cases = cases.saturating_sub(1),
                    "JOIN" | "APPLY" => joins += 1,
                    word if OPERATOR_WORDS.contains(&word) => operators += 1,
                    _ => {}
                }
            }
            other if is_leaf(other) => {}
            _ => operators += 1,
        }
        // A subscript nests its whole left side, so a chain of them is deep though each closes.
        if matches!(token, Token::LBracket) {
            operators += 1;
        }
        if depth + cases > limits.depth {
            let message = format!("nested deeper than {} levels", limits.depth);
            return Err(Error::limit(message, "use WITH to name the inner parts"));
        }
    }
    if operators > limits.operators {
        let message = format!("{operators} operators, at most {}", limits.operators);
        return Err(Error::limit(message, "use IN (...) or a join instead of a long chain"));
    }
    if joins > limits.joins {
        return Err(too_many_joins(limits));
    }
    Ok(())
}

/// Too many tables in one query.
pub(super) fn too_many_joins(limits: &Limits) -> Error {
    let message = format!("more than {} joins", limits.joins);
    Error::limit(message, "ask in several queries")
}

fn is_leaf(token: &Token) -> bool {
    matches!(
        token,
        Token::Word(_)
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Comma
            | Token::Period
            | Token::SemiColon
            | Token::Whitespace(_)
            | Token::EOF
    )
}
