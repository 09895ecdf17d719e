//! How many requests one caller may make, and how many streams are let in at once.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::error::{Error, Result};

/// How many streams are let in at once: enough for the database to answer many in one go. The others of a crowd wait
/// before anything is done for them, since the work for each takes many times the memory of an open stream.
const ADMISSIONS: usize = 256;
/// How long a stream may wait to be let in; a crowd of tens of thousands takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A user, from wherever.
    User(Uuid),
    /// An address; of IPv6 the /64 network, which one subscriber has as a whole.
    Address(IpAddr),
}

impl Key {
    /// The key of an address.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(subscriber(address))
    }
}

/// What stands for all the addresses that one subscriber has.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

type Buckets = RateLimiter<Key, DashMapStateStore<Key>, DefaultClock, StateInformationMiddleware>;

/// One limit: so many requests a minute, in bursts of that many at once (GCRA).
struct Limit {
    policy: &'static str,
    per_minute: NonZeroU32,
    buckets: Buckets,
}

/// What is left to a caller, for the headers `RateLimit` and `RateLimit-Policy`.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// The name of the limit.
    pub policy: &'static str,
    pub per_minute: u32,
    pub remaining: u32,
}

/// The limits of this node.
pub struct Limits {
    requests: Option<Limit>,
    sign_ins: Option<Limit>,
    admissions: Arc<Semaphore>,
}

/// Leave to be let in, for as long as it is held.
pub struct Admission(
    #[expect(dead_code, reason = "it is given back where it is dropped")] OwnedSemaphorePermit,
);

impl Limits {
    /// Limits by requests a minute; 0 is none.
    #[must_use]
    pub fn new(requests: u32, sign_ins: u32) -> Self {
        Self {
            requests: Limit::new("default", requests),
            sign_ins: Limit::new("sign-in", sign_ins),
            admissions: Arc::new(Semaphore::new(ADMISSIONS)),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when it is one too many.
    pub fn request(&self, key: Key) -> Result<Option<Allowance>> {
        self.requests.as_ref().map(|limit| limit.check(key)).transpose()
    }

    /// Counts a registration or a sign-in.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when it is one too many.
    pub fn sign_in(&self, address: IpAddr) -> Result<()> {
        self.sign_ins.as_ref().map_or(Ok(()), |limit| limit.check(Key::address(address)).map(drop))
    }

    /// Counts a registration or a sign-in at another node.
    pub fn sign_in_elsewhere(&self, address: IpAddr) {
        drop(self.sign_in(address)); // What is too much was refused there, or is refused here next time.
    }

    /// Waits until a stream may be let in; who came first is let in first.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when that takes too long.
    pub async fn admission(&self) -> Result<Admission> {
        let permit = Arc::clone(&self.admissions).acquire_owned();
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(Ok(permit)) => Ok(Admission(permit)),
            _ => Err(Error::Overloaded),
        }
    }

    /// Forgets callers who have their full allowance again.
    pub fn shrink(&self) {
        for limit in [&self.requests, &self.sign_ins].into_iter().flatten() {
            limit.buckets.retain_recent();
            limit.buckets.shrink_to_fit();
        }
    }
}

impl Limit {
    fn new(policy: &'static str, per_minute: u32) -> Option<Self> {
        let per_minute = NonZeroU32::new(per_minute)?;
        let buckets = RateLimiter::dashmap(Quota::per_minute(per_minute)).with_middleware();
        Some(Self { policy, per_minute, buckets })
    }

    fn check(&self, key: Key) -> Result<Allowance> {
        match self.buckets.check_key(&key) {
            Ok(state) => Ok(Allowance {
                policy: self.policy,
                per_minute: self.per_minute.get(),
                remaining: state.remaining_burst_capacity(),
            }),
            Err(refusal) => {
                let wait = refusal.wait_time_from(DefaultClock::default().now());
                // Rounded up: who comes back then is not refused again.
                let retry_after_s = wait.as_secs() + 1;
                Err(Error::RateLimited {
                    policy: self.policy,
                    per_minute: self.per_minute.get(),
                    retry_after_s,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{ADMISSIONS, Limits};

    #[tokio::test]
    async fn one_more_stream_is_let_in_when_another_one_is() {
        let limits = Limits::new(0, 0);
        let mut within = Vec::new();
        for _ in 0..ADMISSIONS {
            within.push(timeout(Duration::ZERO, limits.admission()).await.unwrap().unwrap());
        }
        assert!(timeout(Duration::ZERO, limits.admission()).await.is_err(), "one too many is let in");
        within.pop();
        timeout(Duration::ZERO, limits.admission()).await.unwrap().unwrap();
    }
}
