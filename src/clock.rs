//! The time, as a value that is passed in: the system's in production, a hand that tests move.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Datelike as _, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// A moment in UTC with a resolution of one millisecond, which both databases and the wire keep unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, sqlx::Type, ToSchema)]
#[serde(try_from = "DateTime<Utc>")]
#[sqlx(transparent)]
#[schema(value_type = String, format = DateTime, example = "2026-01-01T00:00:00.000Z")]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// The moment `span` later; the last one that can be written when that lies beyond it.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let span = TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
        let later = self.0.checked_add_signed(span).filter(is_writable);
        Self(later.unwrap_or(DateTime::from_timestamp_millis(LAST_MILLIS).unwrap_or(self.0)))
    }

    /// The moment `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let span = TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
        Self(self.0.checked_sub_signed(span).unwrap_or(DateTime::<Utc>::MIN_UTC))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_millis(self) -> i64 {
        self.0.timestamp_millis()
    }
}

impl TryFrom<DateTime<Utc>> for Timestamp {
    type Error = &'static str;

    fn try_from(moment: DateTime<Utc>) -> Result<Self, Self::Error> {
        let writable = is_writable(&moment);
        if writable { Ok(Self(moment.trunc_subsecs(3))) } else { Err("must lie in the years 0000 to 9999") }
    }
}

/// 9999-12-31T23:59:59.999Z, the last moment that RFC 3339 can write.
const LAST_MILLIS: i64 = 253_402_300_799_999;

fn is_writable(moment: &DateTime<Utc>) -> bool {
    (0..=9_999).contains(&moment.year())
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where the current time comes from.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The time of the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is told to advance.
    #[must_use]
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.timestamp_millis()))))
    }

    /// The current time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp(Utc::now().trunc_subsecs(3)),
            Source::Manual(millis) => {
                let millis = millis.load(Ordering::SeqCst);
                Timestamp(DateTime::from_timestamp_millis(millis).unwrap_or_default())
            }
        }
    }

    /// Moves a manual clock forward; the system's clock is not moved.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual(millis) = &self.0 {
            millis.fetch_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}
