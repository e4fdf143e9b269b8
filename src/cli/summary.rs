//! What a replay prints while it runs: one line a moment, a progress bar on a terminal.

use crate::app::{Fed, Runtime};
use crate::views::{Filter, Views};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often a line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// How often a terminal is brought up to date.
const TERMINAL_EVERY: Duration = Duration::from_millis(500);

/// Prints until it is finished.
pub struct Summary {
    fed: Arc<Fed>,
    views: Views,
    bar: ProgressBar,
    task: JoinHandle<()>,
}

/// What is known of an asset at a glance.
#[derive(Debug, Default, Clone)]
struct Glance {
    score: Option<f64>,
    band: String,
    /// Worst level and its rule.
    level: usize,
    rule: String,
}

const LEVELS: [&str; 3] = ["normal", "warning", "critical"];

impl Summary {
    /// Starts to print the progress of a feed into a runtime, to standard error.
    pub fn start(runtime: &Arc<Runtime>, fed: Arc<Fed>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(1_000), target);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent}% {msg}") {
            bar.set_style(style);
        }
        let (views, shutdown) = (runtime.views.clone(), runtime.shutdown.clone());
        let task = tokio::spawn({
            let (fed, views, bar) = (Arc::clone(&fed), views.clone(), bar.clone());
            async move {
                let (begun, mut points, mut at) = (Instant::now(), 0, Instant::now());
                loop {
                    tokio::select! {
                        () = tokio::time::sleep(if terminal { TERMINAL_EVERY } else { PLAIN_EVERY }) => {}
                        () = shutdown.wait() => return,
                    }
                    let now = fed.points.load(Ordering::Relaxed);
                    let rate = (now - points) as f64 / at.elapsed().as_secs_f64();
                    (points, at) = (now, Instant::now());
                    let line = line(&fed, &views, rate, begun.elapsed());
                    let progress = fed.progress(begun.elapsed());
                    bar.set_position((progress.part * 1_000.0) as u64);
                    bar.set_message(line.clone());
                    if !terminal {
                        tell!("{:3.0}% {line}", progress.part * 100.0);
                    }
                }
            }
        });
        Self { fed, views, bar, task }
    }

    /// Stops printing and prints the report.
    pub async fn finish(self, elapsed: Duration) {
        self.task.abort();
        self.bar.finish_and_clear();
        let points = self.fed.points.load(Ordering::Relaxed);
        tell!(
            "{points} points in {:.1} s, {:.0} points/s; {} refused",
            elapsed.as_secs_f64(),
            points as f64 / elapsed.as_secs_f64().max(1e-9),
            self.fed.refused.load(Ordering::Relaxed),
        );
        // A plant of thousands is no table for people.
        let glances = glances(&self.views);
        for (asset, glance) in glances.iter().take(30) {
            let score = glance.score.map_or("-".into(), |score| format!("{score:.0}"));
            tell!(
                "  {asset:<16} health {score:>3} {:<9} worst threshold {} {}",
                glance.band,
                LEVELS[glance.level],
                glance.rule
            );
        }
        if glances.len() > 30 {
            tell!("  ... and {} more assets", glances.len() - 30);
        }
    }
}

fn line(fed: &Fed, views: &Views, rate: f64, elapsed: Duration) -> String {
    let left = fed.progress(elapsed).left;
    let left = left.map_or("?".into(), |left| HumanDuration(left).to_string());
    let mut line = format!("{} | {rate:.0} points/s | {left} left", fed.tick());
    let mut glances: Vec<_> = glances(views).into_iter().collect();
    glances.sort_by(|a, b| {
        let score = |g: &Glance| g.score.unwrap_or(f64::INFINITY);
        score(&a.1).total_cmp(&score(&b.1))
    });
    for (asset, glance) in glances.iter().take(5) {
        let score = glance.score.map_or("-".into(), |score| format!("{score:.0}"));
        line.push_str(&format!(" | {asset} {score}"));
        if glance.level > 0 {
            line.push_str(&format!(" {} {}", LEVELS[glance.level], glance.rule));
        }
    }
    line
}

fn glances(views: &Views) -> BTreeMap<String, Glance> {
    let mut glances: BTreeMap<String, Glance> = BTreeMap::new();
    let Ok((_, contents)) =
        views.snapshot(&["asset_health", "threshold_states"], &Filter::default())
    else {
        return glances;
    };
    for batch in &contents[0] {
        let (assets, bands) = (text(batch, "asset"), text(batch, "band"));
        let scores = batch.column_by_name("score").map(|c| c.as_primitive::<Float64Type>().clone());
        for row in 0..batch.num_rows() {
            let glance = glances.entry(assets.value(row).to_owned()).or_default();
            glance.score = scores.as_ref().filter(|s| s.is_valid(row)).map(|s| s.value(row));
            if bands.is_valid(row) {
                glance.band = bands.value(row).to_owned();
            }
        }
    }
    for batch in &contents[1] {
        let (assets, rules, levels) =
            (text(batch, "asset"), text(batch, "rule"), text(batch, "level"));
        for row in 0..batch.num_rows() {
            let level = LEVELS.iter().position(|l| *l == levels.value(row)).unwrap_or(0);
            let glance = glances.entry(assets.value(row).to_owned()).or_default();
            if level > glance.level {
                (glance.level, glance.rule) = (level, rules.value(row).to_owned());
            }
        }
    }
    glances
}

fn text(batch: &RecordBatch, name: &str) -> arrow::array::StringArray {
    let column = batch.column_by_name(name).map(|column| column.as_string::<i32>().clone());
    column.unwrap_or_else(|| arrow::array::StringArray::new_null(batch.num_rows()))
}
