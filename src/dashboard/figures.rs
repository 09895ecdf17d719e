//! The figures, and the moments that they are about.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;

const DAY_MINUTES: i64 = 24 * 60;
const DAY_HOURS: i64 = 24;

/// A number, and what it was a day before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Figure {
    pub value: i64,
    pub previous: i64,
    /// By how much it has changed, in per cent to one place; null when it was nothing
    pub change_pct: Option<f64>,
}

impl Figure {
    #[expect(clippy::cast_precision_loss, reason = "a rounded share of numbers far below 2^52")]
    fn of(value: i64, previous: i64) -> Self {
        let per_mille = |base: f64| ((value - previous) as f64 / base * 1_000.0).round();
        let change_pct = (previous != 0).then(|| per_mille(previous as f64) / 10.0);
        Self { value, previous, change_pct }
    }
}

/// What is told to those who listen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Metrics {
    /// Public snippets, now and 24 hours ago
    pub total_snippets: Figure,
    /// Different users seen in the last 24 hours and in the 24 hours before, to the hour
    pub active_users: Figure,
    /// Views since 00:00 UTC, and in the same span of yesterday
    pub views_today: Figure,
    /// Users, and connections of nobody in particular, that have a stream open
    pub online: u64,
}

impl Metrics {
    pub(super) fn of(counts: &Counts, online: u64) -> Self {
        Self {
            total_snippets: Figure::of(counts.snippets, counts.snippets - counts.new_snippets),
            active_users: Figure::of(counts.active, counts.active_before),
            views_today: Figure::of(counts.views, counts.views_before),
            online,
        }
    }
}

/// The sums of the counters that the figures are made of.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Counts {
    pub(super) snippets: i64,
    pub(super) new_snippets: i64,
    pub(super) views: i64,
    pub(super) views_before: i64,
    pub(super) active: i64,
    pub(super) active_before: i64,
}

/// The minutes and hours that limit the sums. Minutes and hours are counted from 1970.
pub(super) struct Moment {
    /// The last minute that is more than 24 hours ago, or just that.
    pub(super) day_ago: i64,
    pub(super) midnight: i64,
    pub(super) midnight_before: i64,
    /// The last hours that lie before the last 24, and before the last 48.
    pub(super) day_of_hours_ago: i64,
    pub(super) two_days_of_hours_ago: i64,
}

impl Moment {
    pub(super) fn of(now: Timestamp) -> Self {
        let (minute, hour) = (minute(now), hour(now));
        let midnight = minute - minute.rem_euclid(DAY_MINUTES);
        Self {
            day_ago: minute - DAY_MINUTES,
            midnight,
            midnight_before: midnight - DAY_MINUTES,
            day_of_hours_ago: hour - DAY_HOURS,
            two_days_of_hours_ago: hour - 2 * DAY_HOURS,
        }
    }

    /// What lies before this minute, and this hour, is never asked for by itself again.
    pub(super) fn oldest(now: Timestamp) -> (i64, i64) {
        (minute(now) - 2 * DAY_MINUTES, hour(now) - 2 * DAY_HOURS)
    }
}

/// The minute in which a moment lies.
#[must_use]
pub fn minute(at: Timestamp) -> i64 {
    at.unix_millis().div_euclid(60_000)
}

pub(super) fn hour(at: Timestamp) -> i64 {
    minute(at).div_euclid(60)
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[test]
    fn a_change_needs_a_base() {
        let change = |value, previous| Figure::of(value, previous).change_pct;
        assert_eq!(change(5, 0), None);
        assert_eq!(change(0, 5), Some(-100.0));
        assert_eq!(change(10, 5), Some(100.0));
        assert_eq!(change(4, 3), Some(33.3));
        assert_eq!(change(7, 7), Some(0.0));
    }
}
