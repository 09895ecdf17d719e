//! Spans of time, kept to 1.6 % in constant memory.

use std::time::Duration;

/// Values below this are exact; above, each power of two is cut into half as many steps.
const STEPS: usize = 128;
const BITS: u32 = STEPS.ilog2();

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS / 2 * 60], total: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.counts[place(nanos)] += 1;
        self.total += 1;
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The span that this share of all do not exceed, in milliseconds.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = ((as_f64(self.total) * share).ceil()).max(1.0);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if as_f64(seen) >= wanted {
                return as_f64(value(place)) / 1e6;
            }
        }
        0.0
    }
}

fn place(nanos: u64) -> usize {
    let shift = (nanos | 1).ilog2().saturating_sub(BITS - 1);
    let step = usize::try_from(nanos >> shift).unwrap_or(STEPS - 1);
    shift as usize * (STEPS / 2) + step
}

/// The middle of what falls into a place.
fn value(place: usize) -> u64 {
    if place < STEPS {
        return place as u64;
    }
    let shift = place / (STEPS / 2) - 1;
    let step = place - shift * (STEPS / 2);
    ((step as u64) << shift) + (1 << shift) / 2
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "figures of measurements stay far below 2^52")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}
