//! A table elsewhere that asks from time to time what has changed is the view, too.

use super::*;
use std::collections::BTreeMap;

/// Rows by key, with the epoch at which each is said to have changed.
pub(super) struct Elsewhere {
    view: &'static str,
    epoch: Epoch,
    rows: BTreeMap<Vec<String>, (u64, String)>,
}

impl Elsewhere {
    pub fn new(view: &'static str) -> Self {
        Self { view, epoch: Epoch(0), rows: BTreeMap::new() }
    }

    /// Asks, and compares with what readers see.
    pub fn ask(&mut self, views: &Views, context: &str) {
        let context = format!("{context}, {} after {}", self.view, self.epoch);
        if let Some(mut changed) = views.changed(self.view, self.epoch).unwrap() {
            let schema = View::parse(self.view).unwrap().schema();
            let key = View::parse(self.view).unwrap().key();
            let key: Vec<usize> = key.iter().map(|name| schema.index_of(name).unwrap()).collect();
            match changed.ended() {
                Ended::Others => self.rows.clear(),
                Ended::These(ended) => {
                    let ended = ended.clone();
                    self.rows.retain(|_, (_, line)| !ended.iter().any(|rows| is_of(rows, line)));
                }
            }
            while let Some(batch) = changed.rows().unwrap() {
                for line in lines(&[batch]) {
                    let (line, epoch) = line.rsplit_once('|').unwrap();
                    let epoch: u64 = epoch.parse().unwrap();
                    assert!(epoch <= changed.epoch().0, "{context}: {line}");
                    let cells: Vec<&str> = line.split('|').collect();
                    let key = key.iter().map(|i| cells[*i].to_owned()).collect();
                    let known = self.rows.entry(key).or_insert((0, String::new()));
                    if epoch >= known.0 {
                        *known = (epoch, line.to_owned());
                    }
                }
            }
            self.epoch = changed.epoch();
        }
        let mut found: Vec<&String> = self.rows.values().map(|(_, line)| line).collect();
        let mut expected = show(views, self.view, &Filter::default());
        found.sort();
        expected.sort();
        assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{context}");
    }
}

/// Whether a row of a roll-up is among these.
fn is_of(rows: &EndedRows, line: &str) -> bool {
    let cells: Vec<&str> = line.split('|').collect();
    match rows {
        EndedRows::Asset(asset) => cells[0] == &**asset,
        EndedRows::Metric(of, metric) => {
            cells[1] == &**of && metric.as_deref().is_none_or(|metric| cells[2] == metric)
        }
        EndedRows::Window(asset, start) => {
            cells[0] == &**asset && Timestamp::parse(cells[3]).unwrap().0 == *start
        }
    }
}
