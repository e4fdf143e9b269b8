//! The four types of metric values, and the 64-bit word in which the engine keeps one.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, RwLock};

/// The type of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// A 64-bit float, never NaN and never infinite.
    #[default]
    Double,
    /// A 64-bit signed integer.
    Integer,
    /// True or false.
    Bool,
    /// A text: the name of a state, as a rule.
    String,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// See [`DataType::Double`].
    Double(f64),
    /// See [`DataType::Integer`].
    Integer(i64),
    /// See [`DataType::Bool`].
    Bool(bool),
    /// See [`DataType::String`].
    String(Arc<str>),
}

/// A text that the process has seen, as a number. Two equal texts have the same number.
///
/// Symbols live as long as the process and never leave it: files and wires carry the text. Only
/// checkpoints hold words as they are, and the table of symbols with them; so do rows on their way
/// to another process of the same graph, which reads the words anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Symbol(pub u32);

#[derive(Default)]
struct Symbols {
    by_text: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
}

static SYMBOLS: LazyLock<RwLock<Symbols>> = LazyLock::new(RwLock::default);

impl Symbol {
    /// The symbol of a text, made on first sight.
    pub fn of(text: &str) -> Self {
        let known = SYMBOLS.read().unwrap_or_else(|e| e.into_inner()).by_text.get(text).copied();
        if let Some(id) = known {
            return Self(id);
        }
        let mut symbols = SYMBOLS.write().unwrap_or_else(|e| e.into_inner());
        if let Some(id) = symbols.by_text.get(text) {
            return Self(*id);
        }
        let id = symbols.texts.len() as u32;
        let text: Arc<str> = text.into();
        symbols.texts.push(Arc::clone(&text));
        symbols.by_text.insert(text, id);
        Self(id)
    }

    /// The texts of all symbols, in the order of their numbers.
    pub fn all() -> Vec<Arc<str>> {
        SYMBOLS.read().unwrap_or_else(|e| e.into_inner()).texts.clone()
    }

    /// Gives texts the numbers that they had in another process. Fails with the first text that
    /// has another number here already; then nothing has changed.
    pub fn restore(texts: &[Arc<str>]) -> Result<(), Arc<str>> {
        let mut symbols = SYMBOLS.write().unwrap_or_else(|e| e.into_inner());
        let known = symbols.texts.len();
        let differs = |(i, text): (usize, &Arc<str>)| match symbols.by_text.get(text) {
            Some(number) => *number as usize != i,
            None => i < known,
        };
        if let Some(i) = texts.iter().enumerate().position(differs) {
            return Err(Arc::clone(&texts[i]));
        }
        for (i, text) in texts.iter().enumerate().skip(known) {
            symbols.texts.push(Arc::clone(text));
            symbols.by_text.insert(Arc::clone(text), i as u32);
        }
        Ok(())
    }

    /// The text that a word stands for, where it is one that this process has seen.
    pub fn known(word: u64) -> Option<Arc<str>> {
        let symbols = SYMBOLS.read().unwrap_or_else(|e| e.into_inner());
        symbols.texts.get(usize::try_from(word).ok()?).cloned()
    }

    /// The text of the symbol.
    pub fn text(self) -> Arc<str> {
        let symbols = SYMBOLS.read().unwrap_or_else(|e| e.into_inner());
        Arc::clone(&symbols.texts[self.0 as usize])
    }
}

impl DataType {
    /// Whether sums and means of such values make sense.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Double | Self::Integer)
    }

    /// The Arrow type of a column of such values.
    pub fn arrow(self) -> arrow::datatypes::DataType {
        match self {
            Self::Double => arrow::datatypes::DataType::Float64,
            Self::Integer => arrow::datatypes::DataType::Int64,
            Self::Bool => arrow::datatypes::DataType::Boolean,
            Self::String => arrow::datatypes::DataType::Utf8,
        }
    }

    /// The value that a word stands for.
    pub fn value(self, word: u64) -> Value {
        match self {
            Self::Double => Value::Double(f64::from_bits(word)),
            Self::Integer => Value::Integer(word as i64),
            Self::Bool => Value::Bool(word != 0),
            Self::String => Value::String(Symbol(word as u32).text()),
        }
    }

    /// A word of another type as one of this: integers are cut, bools are not 0. `None` between
    /// texts and the others.
    pub fn read(self, other: Self, word: u64) -> Option<u64> {
        let number = other.number(word);
        match self {
            Self::Double => number.map(f64::to_bits),
            Self::Integer => number.map(|x| x as i64 as u64),
            Self::Bool => number.map(|x| u64::from(x != 0.0)),
            Self::String => None,
        }
    }

    /// The word as a number: integers and bools (1 and 0) are converted, strings are `None`.
    pub fn number(self, word: u64) -> Option<f64> {
        match self {
            Self::Double => Some(f64::from_bits(word)),
            Self::Integer => Some(word as i64 as f64),
            Self::Bool => Some(word as f64),
            Self::String => None,
        }
    }
}

impl Value {
    /// The type that the value is of.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Double(_) => DataType::Double,
            Self::Integer(_) => DataType::Integer,
            Self::Bool(_) => DataType::Bool,
            Self::String(_) => DataType::String,
        }
    }

    /// The word that stands for the value.
    pub fn word(&self) -> u64 {
        match self {
            Self::Double(value) => value.to_bits(),
            Self::Integer(value) => *value as u64,
            Self::Bool(value) => u64::from(*value),
            Self::String(text) => u64::from(Symbol::of(text).0),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Double => "double",
            Self::Integer => "integer",
            Self::Bool => "bool",
            Self::String => "string",
        })
    }
}
