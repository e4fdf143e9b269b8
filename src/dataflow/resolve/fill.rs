//! Fills the slots of rows from a column, one column after the other.

use super::columns::{Columns, Convert, Source};
use crate::catalog::Conversion;
use crate::model::{Batch, Quality, Rows, Symbol, mask_words};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Float64Type, Int64Type};

/// Which rows of a batch become which rows of an asset type: row `picked[i]` becomes row `i`.
pub struct Picked<'a> {
    /// Rows of the batch.
    pub picked: &'a [u32],
    /// Qualities of all rows of the batch; `None` when all are good.
    pub qualities: Option<&'a [u32]>,
}

/// Whole numbers from here on are not told apart by a float.
const INTEGERS_EXACT_TO: f64 = 9_007_199_254_740_992.0;

impl Picked<'_> {
    /// Fills all slots of rows that have no words yet, row after row. Returns `false`, and leaves them
    /// without words, unless every slot is a column of finite doubles as they are, without nulls.
    pub fn fill_whole(&self, columns: &Columns, batch: &Batch, rows: &mut Rows) -> bool {
        let as_it_is = |(slot, source): (usize, &Source)| {
            let column = batch.rows().column(source.column);
            let is_plain = source.slot == slot
                && source.range.is_none()
                && source.convert == Convert::Double(Conversion::IDENTITY)
                && column.null_count() == 0;
            is_plain.then(|| &column.as_primitive::<Float64Type>().values()[..])
        };
        let sources = columns.sources.iter().enumerate();
        let read: Option<Vec<&[f64]>> = sources.map(as_it_is).collect();
        let Some(read) =
            read.filter(|read| self.qualities.is_none() && read.len() == columns.slots)
        else {
            return false;
        };
        rows.words.reserve_exact(self.picked.len() * read.len());
        let mut are_finite = true;
        for row in self.picked {
            rows.words.extend(read.iter().map(|column| {
                let number = column[*row as usize];
                are_finite &= number.is_finite();
                number.to_bits()
            }));
        }
        if !are_finite {
            rows.words.clear();
        }
        are_finite
    }

    /// Fills one slot of `rows`, whose masks say that it has a point in each row, and whose
    /// qualities and words are zero so far. Calls `refuse` with the row of the batch whose value
    /// is there but cannot be a value of the metric. Returns whether all rows have a point.
    pub fn fill(
        &self,
        source: &Source,
        column: &ArrayRef,
        rows: &mut Rows,
        refuse: &mut impl FnMut(u32),
    ) -> bool {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        let inside = |number: f64| source.range.is_none_or(|(l, h)| l <= number && number <= h);
        let double = |number: f64, conversion: Conversion| {
            let number = conversion.apply(number);
            number.is_finite().then(|| (number.to_bits(), inside(number)))
        };
        let integer = |number: i64| Some((number as u64, inside(number as f64)));
        match source.convert {
            Convert::Double(conversion) => {
                let values = column.as_primitive::<Float64Type>().values();
                let plain = nulls.is_none() && self.qualities.is_none() && source.range.is_none();
                if plain && conversion == Conversion::IDENTITY && self.copy(source, values, rows) {
                    return true;
                }
                self.put(source, nulls, rows, refuse, |row| double(values[row], conversion))
            }
            Convert::IntegerToDouble(conversion) => {
                let values = column.as_primitive::<Int64Type>().values();
                self.put(source, nulls, rows, refuse, |row| double(values[row] as f64, conversion))
            }
            Convert::Integer => {
                let values = column.as_primitive::<Int64Type>().values();
                self.put(source, nulls, rows, refuse, |row| integer(values[row]))
            }
            Convert::ToInteger(conversion) => {
                // What a conversion makes of a number is rounded, a number as it came must be whole.
                let exact = conversion == Conversion::IDENTITY;
                let whole = |number: f64| {
                    let converted = conversion.apply(number);
                    let number = if exact { converted } else { converted.round() };
                    (number.fract() == 0.0 && number.abs() < INTEGERS_EXACT_TO)
                        .then_some(number as i64)
                };
                let floats = column.as_primitive_opt::<Float64Type>();
                let integers = column.as_primitive_opt::<Int64Type>();
                if let Some(values) = floats {
                    let value = |row| whole(values.value(row)).and_then(integer);
                    self.put(source, nulls, rows, refuse, value)
                } else {
                    let value = |row| {
                        let number = integers.map(|values| values.value(row) as f64);
                        number.and_then(whole).and_then(integer)
                    };
                    self.put(source, nulls, rows, refuse, value)
                }
            }
            Convert::Bool => {
                let values = column.as_boolean();
                let value = |row| Some((u64::from(values.value(row)), true));
                self.put(source, nulls, rows, refuse, value)
            }
            Convert::Text => {
                let values = column.as_string::<i32>();
                // States repeat: most values are the one before.
                let mut last: Option<(&str, u64)> = None;
                self.put(source, nulls, rows, refuse, |row| {
                    let text = values.value(row);
                    let word = match last {
                        Some((known, word)) if known == text => word,
                        _ => u64::from(Symbol::of(text).0),
                    };
                    last = Some((text, word));
                    Some((word, true))
                })
            }
        }
    }

    /// Fills the slot with the values as they are, when all of them are finite.
    fn copy(&self, source: &Source, values: &[f64], rows: &mut Rows) -> bool {
        if !self.picked.iter().all(|row| values[*row as usize].is_finite()) {
            return false;
        }
        let mut to = source.slot;
        for row in self.picked {
            rows.words[to] = values[*row as usize].to_bits();
            to += rows.slots;
        }
        true
    }

    #[inline]
    fn put(
        &self,
        source: &Source,
        nulls: Option<&NullBuffer>,
        rows: &mut Rows,
        refuse: &mut impl FnMut(u32),
        mut value: impl FnMut(usize) -> Option<(u64, bool)>,
    ) -> bool {
        let (slot, slots, masks) = (source.slot, rows.slots, mask_words(rows.slots));
        let (mask, bit) = (slot / 64, 1 << (slot % 64));
        let mut whole = true;
        for (i, &row) in self.picked.iter().enumerate() {
            let null = nulls.is_some_and(|nulls| nulls.is_null(row as usize));
            let converted = if null { None } else { value(row as usize) };
            let Some((word, inside)) = converted else {
                rows.fresh[i * masks + mask] &= !bit;
                whole = false;
                if !null {
                    refuse(row);
                }
                continue;
            };
            rows.words[i * slots + slot] = word;
            if self.qualities.is_some() || !inside {
                let code = self.qualities.map_or(0, |qualities| qualities[row as usize]);
                let least = if inside { Quality::GOOD } else { Quality::OUT_OF_RANGE };
                rows.quality[i * slots + slot] = Quality(code).worst(least).0;
            }
        }
        whole
    }
}
