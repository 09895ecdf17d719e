//! Who is typing: told as the whole set of a topic, `typing` `{"users": [{id, name}]}`.

use uuid::Uuid;

use crate::{
    accounts::UserId,
    app::App,
    realtime::{Json, Key},
};

/// Says whether a user is typing on a topic. It holds for 6 s after it was last said, at most until `connection`
/// closes; `false` ends it at once. The caller has the right to write there.
pub fn set(app: &App, key: &Key, user: UserId, profile: Json, connection: Option<Uuid>, typing: bool) {
    if typing {
        app.realtime.start_typing(key, user.0, profile, connection);
    } else {
        clear(app, key, user);
    }
}

/// Ends a user's typing on a topic, because what was typed has been sent for instance.
pub fn clear(app: &App, key: &Key, user: UserId) {
    app.realtime.stop_typing(key, user.0);
}
