//! Local times of a time zone, quickly for instants that are near each other.

use datafusion::common::{Result, exec_datafusion_err, plan_datafusion_err};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// A time zone with the offset that was asked for last. Local times are counted in microseconds
/// since 1970-01-01T00:00 on the clock of the zone.
#[derive(Clone, Debug)]
pub(in crate::query) struct Zone {
    zone: TimeZone,
    /// Where the offset holds: from the first to before the second.
    holds: (i64, i64),
    offset: i64,
    /// A local time and the instant that it is.
    known: Option<(i64, i64)>,
}

/// The instant of a count of microseconds. Fails outside of the years -9999 to 9999.
pub(super) fn instant(micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros)
        .map_err(|_| exec_datafusion_err!("{micros} microseconds is no time of years that count"))
}

/// The date and time that a local time is.
pub(super) fn civil(local: i64) -> Result<DateTime> {
    Ok(Offset::UTC.to_datetime(instant(local)?))
}

/// The local time that a date and time is.
pub(super) fn local(civil: DateTime) -> Result<i64> {
    let instant = Offset::UTC.to_timestamp(civil);
    Ok(instant.map_err(|error| exec_datafusion_err!("{error}"))?.as_microsecond())
}

impl Zone {
    /// The zone of this name, as in the IANA database, or an offset like `+02:00`.
    pub fn named(name: &str) -> Result<Self> {
        let zone = DateTimeParser::new().parse_time_zone(name).map_err(|_| unknown(name))?;
        Ok(Self { zone, holds: (0, 0), offset: 0, known: None })
    }

    /// What to add to the instant for the local time.
    pub fn offset(&mut self, time: i64) -> Result<i64> {
        if time < self.holds.0 || time >= self.holds.1 {
            let at = instant(time)?;
            let micros = |time: Timestamp| time.as_microsecond();
            let before = instant(time + 1)?;
            let from = self.zone.preceding(before).next().map(|t| micros(t.timestamp()));
            let until = self.zone.following(at).next().map(|t| micros(t.timestamp()));
            let all = (micros(Timestamp::MIN), micros(Timestamp::MAX));
            self.holds = (from.unwrap_or(all.0), until.unwrap_or(all.1));
            self.offset = i64::from(self.zone.to_offset(at).seconds()) * 1_000_000;
        }
        Ok(self.offset)
    }

    /// Since when the offset that was asked for last holds.
    pub fn since(&self) -> i64 {
        self.holds.0
    }

    /// The instant of a local time: the earlier one of two, and the end of the gap when clocks skip
    /// it.
    pub fn instant(&mut self, local: i64) -> Result<i64> {
        match self.known {
            Some((known, instant)) if known == local => Ok(instant),
            _ => {
                let ambiguous = self.zone.to_ambiguous_timestamp(civil(local)?);
                let skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
                let instant = ambiguous.compatible();
                let instant = instant.map_err(|error| exec_datafusion_err!("{error}"))?;
                let mut found = instant.as_microsecond();
                if skipped {
                    self.offset(found)?;
                    found = self.since();
                }
                self.known = Some((local, found));
                Ok(found)
            }
        }
    }
}

fn unknown(name: &str) -> datafusion::error::DataFusionError {
    let database = jiff::tz::db();
    let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
    match crate::expr::nearest(name, names.iter().map(String::as_str)) {
        Some(known) => plan_datafusion_err!("no time zone '{name}', did you mean '{known}'?"),
        None => plan_datafusion_err!("no time zone '{name}': write one like 'Europe/Berlin'"),
    }
}
