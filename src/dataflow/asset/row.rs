//! How a row of an asset's series lies in memory, and how the state behind it does.
//!
//! A row is everything about an asset at one event time, as 64-bit words:
//! `event time | error bits | fresh mask | known mask | metric values | rule numbers | mask of them |
//! rule conditions known | rule conditions true | qualities`. Values are *as of* the row's time: a
//! metric without a point in the row has the value of its last point before. `fresh` has the bits
//! of the metrics with a point of their own, `known` of those with any value so far.

use crate::model::{Quality, mask_words};
use serde::{Deserialize, Serialize};

/// The time that stands for "never".
pub const NEVER: i64 = i64::MIN;

/// Offsets of the parts of a row, and of the parts of a state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowLayout {
    /// Metrics, measured and derived.
    pub metrics: usize,
    /// Expressions of rules that give numbers.
    numbers: usize,
    /// Expressions of rules that give true or false.
    pub conditions: usize,
    mask: usize,
    /// Words a row.
    pub stride: usize,
    /// Threshold rules.
    pub rules: usize,
    /// Event rules.
    pub events: usize,
    /// Health parts that hold.
    pub holds: usize,
    /// Where the parts behind the masks begin.
    values: usize,
    number_values: usize,
    number_mask: usize,
    condition_masks: usize,
    qualities: usize,
}

const TIME: usize = 0;
const ERRORS: usize = 1;
const MASKS: usize = 2;

impl RowLayout {
    /// The layout for these numbers of metrics, rule expressions (numbers and conditions), and
    /// stateful rules.
    pub fn new(
        metrics: usize,
        (numbers, conditions): (usize, usize),
        rules: usize,
        events: usize,
        holds: usize,
    ) -> Self {
        let mask = mask_words(metrics);
        let values = MASKS + 2 * mask;
        let number_values = values + metrics;
        let number_mask = number_values + numbers;
        let condition_masks = number_mask + mask_words(numbers);
        let qualities = condition_masks + 2 * mask_words(conditions);
        let stride = qualities + metrics.div_ceil(2);
        Self {
            metrics,
            numbers,
            conditions,
            mask,
            stride,
            rules,
            events,
            holds,
            values,
            number_values,
            number_mask,
            condition_masks,
            qualities,
        }
    }

    /// The event time of a row.
    #[inline]
    pub fn time(&self, row: &[u64]) -> i64 {
        row[TIME] as i64
    }

    /// Sets the event time.
    #[inline]
    pub fn set_time(&self, row: &mut [u64], time: i64) {
        row[TIME] = time as u64;
    }

    /// One bit for each expression that failed: derived metrics first, then rules; the last bit
    /// stands for all beyond.
    #[inline]
    pub fn errors(&self, row: &[u64]) -> u64 {
        row[ERRORS]
    }

    /// Sets or clears an error bit.
    #[inline]
    pub fn set_error(&self, row: &mut [u64], expression: usize, failed: bool) {
        let bit = 1 << expression.min(63);
        row[ERRORS] = if failed { row[ERRORS] | bit } else { row[ERRORS] & !bit };
    }

    /// Mask of the metrics with a point of their own.
    #[inline]
    pub fn fresh<'a>(&self, row: &'a [u64]) -> &'a [u64] {
        &row[MASKS..MASKS + self.mask]
    }

    /// Whether the metric has a point of its own in the row.
    #[inline]
    pub fn is_fresh(&self, row: &[u64], slot: usize) -> bool {
        row[MASKS + slot / 64] >> (slot % 64) & 1 == 1
    }

    /// Whether the metric has any value as of the row.
    #[inline]
    pub fn is_known(&self, row: &[u64], slot: usize) -> bool {
        row[MASKS + self.mask + slot / 64] >> (slot % 64) & 1 == 1
    }

    /// The value of a metric as of the row.
    #[inline]
    pub fn value(&self, row: &[u64], slot: usize) -> u64 {
        row[self.values + slot]
    }

    /// The values of all metrics as of the row.
    #[inline]
    pub fn values<'a>(&self, row: &'a [u64]) -> &'a [u64] {
        &row[self.values..self.number_values]
    }

    /// The quality of a metric as of the row.
    #[inline]
    pub fn quality(&self, row: &[u64], slot: usize) -> Quality {
        let word = row[self.qualities + slot / 2];
        Quality((word >> (32 * (slot % 2))) as u32)
    }

    /// The value of a metric as of the row, when there is one and it is not bad.
    #[inline]
    pub fn usable(&self, row: &[u64], slot: usize) -> Option<u64> {
        (self.is_known(row, slot) && !self.quality(row, slot).is_bad())
            .then(|| self.value(row, slot))
    }

    /// The number of a rule's expression, when there is one.
    #[inline]
    pub fn number(&self, row: &[u64], index: usize) -> Option<u64> {
        let mask = self.number_mask;
        (row[mask + index / 64] >> (index % 64) & 1 == 1).then(|| row[self.number_values + index])
    }

    /// Sets the number of a rule's expression.
    #[inline]
    pub fn set_number(&self, row: &mut [u64], index: usize, value: Option<u64>) {
        set_bit(&mut row[self.number_mask + index / 64], index, value.is_some());
        row[self.number_values + index] = value.unwrap_or(0);
    }

    /// Whether a rule's condition is true (1) or not (0), when that is known.
    #[inline]
    pub fn condition(&self, row: &[u64], index: usize) -> Option<u64> {
        let known = self.condition_masks + index / 64;
        let is_true = known + mask_words(self.conditions);
        (row[known] >> (index % 64) & 1 == 1).then(|| row[is_true] >> (index % 64) & 1)
    }

    /// The rules' conditions: first which are known, then which are true.
    #[inline]
    pub fn conditions<'a>(&self, row: &'a [u64]) -> &'a [u64] {
        &row[self.condition_masks..self.qualities]
    }

    /// Sets a word of the rules' conditions: which are known, and which of these are true.
    #[inline]
    pub fn set_conditions(&self, row: &mut [u64], word: usize, (known, are_true): (u64, u64)) {
        let at = self.condition_masks + word;
        row[at] = known;
        row[at + mask_words(self.conditions)] = are_true;
    }

    /// Gives a metric a point of its own.
    #[inline]
    pub fn set_point(&self, row: &mut [u64], slot: usize, value: u64, quality: Quality) {
        row[MASKS + slot / 64] |= 1 << (slot % 64);
        self.set_as_of(row, slot, Some((value, quality)));
    }

    /// Gives a metric a good point of its own, in a row without any quality but good.
    #[inline]
    pub fn set_good_point(&self, row: &mut [u64], slot: usize, value: u64) {
        let (word, bit) = (MASKS + slot / 64, 1 << (slot % 64));
        row[word] |= bit;
        row[word + self.mask] |= bit;
        row[self.values + slot] = value;
    }

    /// Gives all of the first metrics points of their own, as many as there are words.
    #[inline]
    pub fn set_points(&self, row: &mut [u64], words: &[u64], quality: &[u32]) {
        let count = words.len();
        for i in 0..mask_words(count) {
            let mask = u64::MAX >> (64 - (count - 64 * i).min(64));
            row[MASKS + i] |= mask;
            row[MASKS + self.mask + i] |= mask;
        }
        row[self.values..self.values + count].copy_from_slice(words);
        let qualities = &mut row[self.qualities..];
        let (pairs, rest) = quality.as_chunks::<2>();
        for (i, [low, high]) in pairs.iter().enumerate() {
            qualities[i] = u64::from(*low) | u64::from(*high) << 32;
        }
        if let [last] = rest {
            let to = &mut qualities[pairs.len()];
            *to = *to >> 32 << 32 | u64::from(*last);
        }
    }

    /// Whether the metrics of the mask all have values, and no metric has any quality but good.
    #[inline]
    pub fn is_good(&self, row: &[u64], metrics: &[u64]) -> bool {
        let known = &row[MASKS + self.mask..MASKS + 2 * self.mask];
        has_all(known, metrics) && row[self.qualities..].iter().fold(0, |any, word| any | word) == 0
    }

    /// Whether the metrics of the mask all have points of their own in the row, and no metric has
    /// any quality but good.
    #[inline]
    pub fn is_fresh_and_good(&self, row: &[u64], metrics: &[u64]) -> bool {
        has_all(&row[MASKS..MASKS + self.mask], metrics)
            && row[self.qualities..].iter().fold(0, |any, word| any | word) == 0
    }

    /// Lets a metric hold an earlier value, or none.
    #[inline]
    pub fn set_held(&self, row: &mut [u64], slot: usize, held: Option<(u64, Quality)>) {
        row[MASKS + slot / 64] &= !(1 << (slot % 64));
        self.set_as_of(row, slot, held);
    }

    /// The value and quality of a metric as of the row.
    #[inline]
    pub fn as_of(&self, row: &[u64], slot: usize) -> Option<(u64, Quality)> {
        self.is_known(row, slot).then(|| (self.value(row, slot), self.quality(row, slot)))
    }

    /// Turns a copy of a row into its successor: nothing fresh, all values held.
    #[inline]
    pub fn succeed(&self, row: &mut [u64], time: i64) {
        self.set_time(row, time);
        row[ERRORS] = 0;
        row[MASKS..MASKS + self.mask].fill(0);
    }

    #[inline]
    fn set_as_of(&self, row: &mut [u64], slot: usize, value: Option<(u64, Quality)>) {
        let (known, bit) = (MASKS + self.mask + slot / 64, 1 << (slot % 64));
        row[known] = if value.is_some() { row[known] | bit } else { row[known] & !bit };
        let (word, quality) = value.unwrap_or_default();
        row[self.values + slot] = word;
        let shift = 32 * (slot % 2);
        let qualities = &mut row[self.qualities + slot / 2];
        *qualities = *qualities & !(0xffff_ffff << shift) | u64::from(quality.0) << shift;
    }
}

#[inline]
fn has_all(mask: &[u64], wanted: &[u64]) -> bool {
    wanted.iter().enumerate().all(|(i, wanted)| mask[i] & wanted == *wanted)
}

#[inline]
fn set_bit(word: &mut u64, index: usize, to: bool) {
    let bit = 1 << (index % 64);
    *word = if to { *word | bit } else { *word & !bit };
}
