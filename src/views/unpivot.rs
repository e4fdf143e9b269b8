//! From a row of words to the public rows in it.

use super::cell::Cell;
use super::names::TypeNames;
use crate::health::band;
use crate::model::{DataType, Quality, Symbol, Table};
use std::borrow::Cow;

/// A row of a wide table together with what it takes to read it.
#[derive(Clone, Copy)]
pub(super) struct WideRow<'a> {
    pub table: Table,
    pub names: &'a TypeNames,
    pub asset: &'a str,
    pub window: i64,
    pub words: &'a [u64],
}

/// How many public rows a row of the table can hold.
pub(super) fn parts(table: Table, names: &TypeNames) -> usize {
    match table {
        Table::Latest => names.layout.slots.len(),
        Table::Health => 1,
        Table::Thresholds => names.rules.len(),
        Table::Rollups(_) => names.numeric.len(),
    }
}

/// What tells the public rows of one row apart: a metric's name or a rule's id.
pub(super) fn part_name(table: Table, names: &TypeNames, part: usize) -> &str {
    match table {
        Table::Latest => &names.layout.slots[part].name,
        Table::Health => "",
        Table::Thresholds => &names.rules[part],
        Table::Rollups(_) => &names.layout.slots[names.numeric[part]].name,
    }
}

/// The part of this name.
pub(super) fn part_named(table: Table, names: &TypeNames, name: &str) -> Option<usize> {
    (0..parts(table, names)).find(|part| part_name(table, names, *part) == name)
}

impl<'a> WideRow<'a> {
    /// Whether two rows of the same layout surely show the same in this part.
    pub fn is_same(&self, other: &WideRow<'_>, part: usize) -> bool {
        let range = match self.table {
            Table::Latest | Table::Thresholds => 3 * part..3 * part + 3,
            Table::Health => 0..self.words.len(),
            Table::Rollups(_) => 1 + 6 * part..7 + 6 * part,
        };
        let revision_matters = matches!(self.table, Table::Rollups(_));
        self.words[range.clone()] == other.words[range]
            && (!revision_matters || self.words[0] == other.words[0])
    }

    /// Whether the part is a row of the view: something happened there.
    pub fn is_there(&self, part: usize) -> bool {
        const NEVER: u64 = i64::MIN as u64;
        match self.table {
            Table::Latest | Table::Thresholds => self.words[3 * part + 1] != NEVER,
            Table::Health => self.words[0] != NEVER,
            Table::Rollups(_) => self.words[1 + 6 * part] != 0,
        }
    }

    /// Puts the public row of a part into `cells`; false, and no cells, when there is none.
    pub fn fill(&self, part: usize, cells: &mut Vec<Cell<'a>>) -> bool {
        cells.clear();
        if !self.is_there(part) {
            return false;
        }
        cells.push(Cell::text(self.asset));
        cells.push(Cell::text(&self.names.key));
        match self.table {
            Table::Latest => self.metric(part, cells),
            Table::Health => self.health(cells),
            Table::Thresholds => self.threshold(part, cells),
            Table::Rollups(_) => self.rollup(part, cells),
        }
        true
    }

    fn metric(&self, part: usize, cells: &mut Vec<Cell<'a>>) {
        let slot = &self.names.layout.slots[part];
        let [word, event_time, quality] = [0, 1, 2].map(|i| self.words[3 * part + i]);
        let text = match slot.data_type {
            DataType::String => Cell::Text(Cow::Owned(Symbol(word as u32).text().to_string())),
            DataType::Bool => Cell::text(if word == 0 { "false" } else { "true" }),
            DataType::Double | DataType::Integer => Cell::Null,
        };
        cells.push(Cell::text(&slot.name));
        cells.push(Cell::Time(event_time as i64));
        cells.push(slot.data_type.number(word).map_or(Cell::Null, Cell::number));
        cells.push(text);
        cells.push(slot.unit.as_deref().map_or(Cell::Null, Cell::text));
        cells.push(quality_text(quality as u32));
    }

    fn health(&self, cells: &mut Vec<Cell<'a>>) {
        let score = f64::from_bits(self.words[1]);
        let band = if score.is_nan() { None } else { band(&self.names.bands, score) };
        cells.push(Cell::Time(self.words[0] as i64));
        cells.push(Cell::number(score));
        cells.push(band.map_or(Cell::Null, |band| Cell::text(&band.name)));
        cells.push(Cell::Text(Cow::Owned(self.contributions())));
    }

    fn contributions(&self) -> String {
        let mut json = String::from("[");
        for (rule, word) in self.names.parts.iter().zip(&self.words[2..]) {
            let points = f64::from_bits(*word);
            if !points.is_finite() || (self.names.deductions && points == 0.0) {
                continue;
            }
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str("{\"rule\":");
            json.push_str(&serde_json::Value::from(rule.as_str()).to_string());
            json.push_str(",\"points\":");
            json.push_str(&serde_json::Value::from(points).to_string());
            json.push('}');
        }
        json.push(']');
        json
    }

    fn threshold(&self, part: usize, cells: &mut Vec<Cell<'a>>) {
        let [level, since, transitions] = [0, 1, 2].map(|i| self.words[3 * part + i]);
        cells.push(Cell::text(&self.names.rules[part]));
        cells.push(Cell::text(match level {
            0 => "normal",
            1 => "warning",
            _ => "critical",
        }));
        cells.push(Cell::Time(since as i64));
        cells.push(Cell::Int(transitions as i64));
    }

    fn rollup(&self, part: usize, cells: &mut Vec<Cell<'a>>) {
        let at = 1 + 6 * part;
        let count = self.words[at];
        let [sum, min, max, first, last] =
            [1, 2, 3, 4, 5].map(|i| f64::from_bits(self.words[at + i]));
        cells.push(Cell::text(part_name(self.table, self.names, part)));
        cells.push(Cell::Time(self.window));
        cells.push(Cell::Int(count as i64));
        for number in [sum, min, max, sum / count as f64, first, last] {
            cells.push(Cell::number(number));
        }
        cells.push(Cell::text(match self.words[0] {
            0 => "provisional",
            1 => "settled",
            _ => "revised",
        }));
        cells.push(Cell::Int(self.words[0].saturating_sub(1) as i64));
    }
}

fn quality_text(code: u32) -> Cell<'static> {
    let quality = Quality(code);
    match code {
        0 => Cell::text("Good"),
        _ => Cell::Text(Cow::Owned(quality.to_string())),
    }
}
