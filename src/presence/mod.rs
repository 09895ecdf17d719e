//! Presence: who is looking at a topic, and who is typing there.
//!
//! A stream tells by itself who is there, and a client without one by a lease; the roster of the node
//! ([`crate::realtime::Roster`]) knows them all. Here are the rules: who may ask, and what may be said of oneself.

pub mod routes;
mod store;
pub mod typing;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    app::App,
    clock::Timestamp,
    credentials::{self, Caller, Identity, Scope},
    error::{Error, Result, Violation},
    realtime::{self, Json, Key, Lease, Newcomer},
    streams,
};

/// How many bytes of JSON somebody may say of themselves.
const FIELDS_LIMIT: usize = 1_024;
/// What the server says of an entry.
const RESERVED: [&str; 3] = ["phx_ref", "phx_ref_prev", "joined_at"];
/// What `status` may be.
const STATUSES: [&str; 3] = ["active", "idle", "away"];

/// How long after a stop of the server those who were there are still expected.
const EXPECTED: Duration = Duration::from_secs(60);
/// How long they have to come back after the start: streams that are closed at a stop are told to wait up to 5 s.
const COMING_BACK: Duration = Duration::from_secs(10);

/// What somebody says of themselves: any JSON object, of which `status` has a meaning.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(value_type = Object, example = json!({ "status": "idle", "cursor": { "line": 3 } }))]
pub struct Fields(Map<String, Value>);

/// Who is on a topic.
#[derive(Debug, Serialize)]
pub struct Present {
    count: usize,
    presences: Option<Json>,
}

/// A lease that was made or renewed.
#[derive(Debug, Serialize)]
pub struct Held {
    expires_at: Timestamp,
    meta: realtime::Meta,
}

/// Who is on a topic now; only how many, for those who are not known themselves.
pub async fn present(app: &App, caller: &Caller, topic: &str) -> Result<Present> {
    let key = streams::gathering(app, caller, topic).await?;
    let realtime::Present { count, presences } = app.realtime.roster.present(&key)?;
    Ok(Present { count, presences: presences.filter(|_| caller.user().is_some()) })
}

/// Says that the caller's device is on a topic for a while, without a stream. Of what it says of itself, what was
/// said before stays where nothing is given.
pub async fn hold(
    app: &App,
    caller: &Caller,
    topic: &str,
    ttl: Duration,
    fields: Option<Fields>,
) -> Result<Held> {
    let who = caller.require(Scope::Write)?;
    let fields = fields.map(|Fields(fields)| checked(fields, "/meta")).transpose()?;
    let key = streams::gathering(app, caller, topic).await?;
    let profile = caller.actor()?.ok_or_else(|| Error::Internal("a user has no profile".into()))?;
    let newcomer =
        Newcomer { user: who.id.0, profile, sees_all: caller.is_admin(), credential: Some(device(who)) };
    let end = app.clock.now().plus(ttl);
    let expires_at = who.expires_at.map_or(end, |credential| credential.min(end));
    let guards = credentials::guards(caller).into_iter().map(Key::from).collect();
    let lease = Lease { device: device(who), guards, until: expires_at, fields };
    let meta = app.realtime.lease(&key, &newcomer, lease, caller.as_of)?;
    Ok(Held { expires_at, meta })
}

/// Says that the caller's device is on a topic no longer, as far as it said so without a stream.
pub async fn release(app: &App, caller: &Caller, topic: &str) -> Result<()> {
    let who = caller.require(Scope::Write)?;
    let key = streams::gathering(app, caller, topic).await?;
    app.realtime.end_lease(&key, who.id.0, &device(who));
    Ok(())
}

/// Changes what the caller says of themselves on a topic (RFC 7396): on the connection that the request names, else
/// on all of theirs. Answers with the caller as others see them.
pub async fn change(app: &App, caller: &Caller, topic: &str, patch: Fields) -> Result<Json> {
    let who = caller.require(Scope::Write)?;
    let key = streams::gathering(app, caller, topic).await?;
    let change = |fields: &Map<String, Value>| {
        let mut changed = fields.clone();
        merge(&mut changed, patch.0.clone());
        checked(changed, "")
    };
    app.realtime.update(&key, who.id.0, caller.connection, change).await
}

/// Writes down who is there, because the server stops.
pub async fn hand_over(app: &App) -> Result<()> {
    let Some(people) = app.realtime.roster.hand_over()? else { return Ok(()) };
    let mut tx = app.db.write().await?;
    store::insert(tx.conn().await?, app.ids.next(), people.as_str(), app.clock.now()).await?;
    tx.commit().await
}

/// Takes up who was there when the server stopped: a restart is no leave, for nobody.
pub async fn take_over(app: &App) -> Result<()> {
    let now = app.clock.now();
    let mut tx = app.db.write().await?;
    let handed = store::take(tx.conn().await?).await?;
    tx.commit().await?;
    for (people, _) in handed.iter().filter(|(_, stopped_at)| stopped_at.plus(EXPECTED) > now) {
        app.realtime.roster.take_over(people, now.plus(COMING_BACK))?;
    }
    Ok(())
}

/// A device is what holds a credential of its own.
fn device(who: &Identity) -> Key {
    credentials::guard(who.credential).into()
}

fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(inner) => {
                let mut merged = match target.remove(&name) {
                    Some(Value::Object(old)) => old,
                    _ => Map::new(),
                };
                merge(&mut merged, inner);
                target.insert(name, Value::Object(merged));
            }
            plain => {
                target.insert(name, plain);
            }
        }
    }
}

/// What may be said of oneself; `at` is where it stands in the body.
fn checked(fields: Map<String, Value>, at: &str) -> Result<Map<String, Value>> {
    let named = |name: &&&str| fields.contains_key(**name);
    let reserved = RESERVED.iter().filter(named).map(|name| (format!("{at}/{name}"), "is set by the server"));
    let mut violations: Vec<_> = reserved.collect();
    let known = |status: &Value| status.as_str().is_some_and(|status| STATUSES.contains(&status));
    if fields.get("status").is_some_and(|status| !known(status)) {
        violations.push((format!("{at}/status"), "must be `active`, `idle` or `away`"));
    }
    if Json::of(&fields)?.as_str().len() > FIELDS_LIMIT {
        violations.push((at.to_owned(), "must have at most 1024 bytes as compact JSON, all together"));
    }
    if violations.is_empty() {
        return Ok(fields);
    }
    Err(Error::Invalid(violations.into_iter().map(|(at, why)| Violation::pointer(at, why)).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{checked, merge};

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn patches_are_merged_as_rfc_7396_says() {
        for (target, patch, result) in [
            (json!({ "a": "b" }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "b", "b": 1 }), json!({ "a": null }), json!({ "b": 1 })),
            (json!({ "a": ["b"] }), json!({ "a": [null] }), json!({ "a": [null] })),
            (
                json!({ "a": { "b": "c" } }),
                json!({ "a": { "b": "d", "c": null } }),
                json!({ "a": { "b": "d" } }),
            ),
            (json!({ "a": 1 }), json!({ "a": { "bb": { "ccc": null } } }), json!({ "a": { "bb": {} } })),
        ] {
            let mut merged = object(target);
            merge(&mut merged, object(patch));
            assert_eq!(Value::Object(merged), result);
        }
    }

    #[test]
    fn what_is_said_of_oneself_has_a_limit() {
        let fits = |value: Value| checked(object(value), "").is_ok();
        assert!(fits(json!({ "x": "a".repeat(1_024 - 8) })));
        assert!(!fits(json!({ "x": "a".repeat(1_024 - 7) })));
        assert!(!fits(json!({ "x": "\u{2028}".repeat(200) })), "measured as it goes out");
    }
}
