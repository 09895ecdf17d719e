//! What users say of themselves. An entry is changed by the node that holds it, whichever node is asked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    super::event::{Json, Key},
    Entry, Holder, Roster, Told,
};
use crate::error::{Error, Result};

/// What another node is asked to have one of its entries say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Order {
    /// The version of the entry that is changed.
    phx_ref: Box<str>,
    fields: Map<String, Value>,
}

impl Roster {
    /// Changes what a user says of themselves on a topic, on one connection or on all their entries. Answers with
    /// what other nodes have to do of it.
    ///
    /// # Errors
    /// What `change` says of the fields of one entry, and then nothing has changed; [`Error::NotFound`] when the
    /// user has no such entry.
    pub(in super::super) fn update(
        &self,
        key: &Key,
        user: Uuid,
        connection: Option<Uuid>,
        change: impl Fn(&Map<String, Value>) -> Result<Map<String, Value>>,
    ) -> Result<Vec<Order>> {
        let mut table = self.lock();
        let meant = |entry: &&Entry| connection.is_none_or(|id| entry.holder.connection() == Some(id));
        let order = |entry: &Entry| {
            let (phx_ref, own) = (entry.meta.phx_ref.clone(), entry.holder.is_own());
            change(&entry.meta.fields).map(|fields| (own.then_some(entry.id), Order { phx_ref, fields }))
        };
        let entries = table.entries(key, user).filter(meant).map(order).collect::<Result<Vec<_>>>()?;
        if entries.is_empty() {
            return Err(Error::NotFound("presence of yours"));
        }
        let mut elsewhere = Vec::new();
        for (own, order) in entries {
            match own {
                Some(id) => self.change(&mut table, key, user, id, order.fields),
                None => elsewhere.push(order),
            }
        }
        self.touch(table, key);
        Ok(elsewhere)
    }

    /// Does what another node asks for. Answers with how many entries were meant, and the user's entries here, so that
    /// whoever asked for an entry's earlier version can ask again.
    pub(in super::super) fn obey(&self, key: &Key, user: Uuid, orders: Vec<Order>) -> (usize, Told) {
        let mut table = self.lock();
        let mut obeyed = 0;
        for Order { phx_ref, fields } in orders {
            let own = |entry: &&Entry| entry.holder.is_own() && entry.meta.phx_ref == phx_ref;
            let id = table.entries(key, user).find(own).map(|entry| entry.id);
            if let Some(id) = id {
                self.change(&mut table, key, user, id, fields);
                obeyed += 1;
            }
        }
        let told = table.told(key, user);
        self.touch(table, key);
        (obeyed, told)
    }

    /// A user as others see them.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the user is not there.
    pub(in super::super) fn shown(&self, key: &Key, user: Uuid) -> Result<Json> {
        let table = self.lock();
        let shown = table.topics.get(key).map(|gathering| gathering.one(user)).transpose()?.flatten();
        shown.ok_or(Error::NotFound("presence of yours"))
    }
}

impl Holder {
    /// The open stream, at whatever node.
    pub(super) fn connection(&self) -> Option<Uuid> {
        match self {
            Self::Connection(id) => Some(*id),
            Self::Elsewhere { connection, .. } => *connection,
            Self::Gone(_) | Self::Lease { .. } => None,
        }
    }
}
