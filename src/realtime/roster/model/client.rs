//! What a client makes of the frames.

use std::collections::BTreeMap;

use serde_json::Value;

/// Entries by reference, as a client keeps them.
pub(super) type Known = BTreeMap<String, BTreeMap<String, Value>>;

pub(super) fn data(envelope: &[u8]) -> Value {
    serde_json::from_slice::<Value>(envelope).unwrap()["data"].take()
}

fn metas(presence: &Value) -> impl Iterator<Item = (String, Value)> {
    let metas = presence["metas"].as_array().unwrap().iter();
    metas.map(|meta| (meta["phx_ref"].as_str().unwrap().to_owned(), meta.clone()))
}

pub(super) fn state(data: &Value) -> Known {
    data.as_object().unwrap().iter().map(|(user, it)| (user.clone(), metas(it).collect())).collect()
}

/// As Phoenix Presence does it: joins first, then leaves.
pub(super) fn sync_diff(known: &mut Known, diff: &Value) {
    for (user, join) in diff["joins"].as_object().unwrap() {
        known.entry(user.clone()).or_default().extend(metas(join));
    }
    for (user, leave) in diff["leaves"].as_object().unwrap() {
        let Some(present) = known.get_mut(user) else { continue };
        metas(leave).for_each(|(phx_ref, _)| drop(present.remove(&phx_ref)));
        if present.is_empty() {
            known.remove(user);
        }
    }
}
