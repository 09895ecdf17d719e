//! What can happen.

use proptest::prelude::*;

pub(super) const USERS: usize = 5;
pub(super) const DEVICES: usize = 3;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Open {
        user: usize,
        device: usize,
    },
    Cut {
        user: usize,
        device: usize,
    },
    Leave {
        user: usize,
        device: usize,
    },
    /// Makes or renews a lease.
    Hold {
        user: usize,
        device: usize,
        seconds: u64,
        status: Option<u8>,
    },
    Release {
        user: usize,
        device: usize,
    },
    /// Of one device, or of all.
    Update {
        user: usize,
        device: Option<usize>,
        status: u8,
    },
    /// Nobody says anything.
    Silence {
        millis: u64,
    },
    /// One user loses the topic.
    Expel {
        user: usize,
    },
    /// All but some lose it.
    Restrict {
        kept: [bool; USERS],
    },
    /// All but one lose it.
    Withdraw {
        user: usize,
    },
    /// Everybody loses it.
    End,
    /// What the leases of a device stand on ends.
    SignOut {
        device: usize,
    },
    Window {
        counts: bool,
    },
    Watch,
    /// A hub had no room for what was announced.
    Miss,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let at = || (0..USERS, 0..DEVICES);
    prop_oneof![
        6 => at().prop_map(|(user, device)| Step::Open { user, device }),
        4 => at().prop_map(|(user, device)| Step::Cut { user, device }),
        1 => at().prop_map(|(user, device)| Step::Leave { user, device }),
        2 => (at(), 10_u64..20, proptest::option::of(0_u8..3))
            .prop_map(|((user, device), seconds, status)| Step::Hold { user, device, seconds, status }),
        1 => at().prop_map(|(user, device)| Step::Release { user, device }),
        2 => (0..USERS, proptest::option::of(0..DEVICES), 0_u8..3)
            .prop_map(|(user, device, status)| Step::Update { user, device, status }),
        4 => prop_oneof![0_u64..200, 4_000_u64..6_000, 9_000_u64..21_000]
            .prop_map(|millis| Step::Silence { millis }),
        1 => prop_oneof![
            (0..USERS).prop_map(|user| Step::Expel { user }),
            any::<[bool; USERS]>().prop_map(|kept| Step::Restrict { kept }),
            (0..USERS).prop_map(|user| Step::Withdraw { user }),
            Just(Step::End),
            (0..DEVICES).prop_map(|device| Step::SignOut { device }),
        ],
        6 => any::<bool>().prop_map(|counts| Step::Window { counts }),
        1 => Just(Step::Watch),
        1 => Just(Step::Miss),
    ]
}
