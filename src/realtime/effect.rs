//! What an event does to the rights on its topic, besides being told.

use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    event::{Key, is_own},
    subscription::Viewer,
};
use crate::error::{Error, Result};

/// What an event does to the topic it is published on, besides being told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Earlier events of the topic leave their feed and take over this event's audience; whoever is outside that
    /// audience loses the topic.
    Withdraw,
    /// The topic ends for everyone after this event. Where the event is told on a feed, earlier events leave that.
    End,
    /// This user (unless it is one who sees all) loses the topic.
    Expel(Uuid),
    /// Only these users (and those who see all) keep the topic; they stand in the order of their ids.
    Restrict(Vec<Uuid>),
}

/// The name of an effect, as the log keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(super) enum EffectName {
    Withdraw,
    End,
    Expel,
    Restrict,
}

impl Effect {
    /// The effect as it is stored: its name, and the users whom it concerns.
    pub(super) fn stored(&self) -> (EffectName, Option<Json<Vec<Uuid>>>) {
        match self {
            Self::Withdraw => (EffectName::Withdraw, None),
            Self::End => (EffectName::End, None),
            Self::Expel(user) => (EffectName::Expel, Some(Json(vec![*user]))),
            Self::Restrict(users) => (EffectName::Restrict, Some(Json(users.clone()))),
        }
    }

    pub(super) fn of(name: EffectName, mut subjects: Vec<Uuid>) -> Result<Self> {
        subjects.sort_unstable();
        Ok(match name {
            EffectName::Withdraw => Self::Withdraw,
            EffectName::End => Self::End,
            EffectName::Expel => match subjects.first() {
                Some(user) => Self::Expel(*user),
                None => return Err(Error::Internal("an expulsion names nobody".into())),
            },
            EffectName::Restrict => Self::Restrict(subjects),
        })
    }
}

/// What an event does to the rights on its topic. It is small and kept apart, because it must be known for longer
/// than the event itself stays in memory.
#[derive(Debug)]
pub struct Ending {
    /// The place of the event.
    pub seq: u64,
    /// The name of the event.
    pub kind: Box<str>,
    /// The topic.
    pub topic: Key,
    /// Whether the event is told on a feed.
    pub fed: bool,
    /// The one user who may see the event.
    pub audience: Option<Uuid>,
    /// The effect.
    pub effect: Effect,
}

impl Ending {
    /// Whether earlier events of the topic leave their feed.
    pub(super) fn withdraws(&self) -> bool {
        self.effect == Effect::Withdraw || (self.effect == Effect::End && self.fed)
    }

    /// Whether more may come for somebody who loses something by it: on a topic that is over nothing comes any more,
    /// unless it stands for an account or a credential.
    pub(super) fn may_be_followed(&self) -> bool {
        self.effect != Effect::End || is_own(&self.topic)
    }

    /// Whether it ends what somebody has on a topic, or one of the `guards` on which it stands.
    pub(super) fn takes(&self, key: &Key, viewer: Viewer, guards: &[Key]) -> bool {
        guards.contains(&self.topic) || (self.topic == *key && !self.keeps(viewer))
    }

    /// Whether somebody who has the topic keeps it.
    pub(super) fn keeps(&self, viewer: Viewer) -> bool {
        match &self.effect {
            Effect::Withdraw => viewer.may_see(self.audience),
            Effect::End => false,
            Effect::Expel(user) => viewer.sees_all || viewer.user != Some(*user),
            Effect::Restrict(users) => {
                viewer.sees_all || viewer.user.is_some_and(|user| users.binary_search(&user).is_ok())
            }
        }
    }
}
