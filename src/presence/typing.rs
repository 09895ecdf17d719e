//! Who is typing: told as the whole set of a topic, `typing` `{"users": [{id, name}]}`.

use crate::{
    app::App,
    credentials::{self, Caller},
    error::{Error, Result},
    realtime::{Key, Typist},
};

/// Says that the caller, who has the right to write there, is typing on a topic. It holds for 6 s after it was last
/// said, at most until the stream that the request names closes.
///
/// # Errors
/// [`Error::NotFound`] when the right has ended since it was looked at.
pub fn start(app: &App, caller: &Caller, key: &Key) -> Result<()> {
    let user = caller.require_user()?.id.0;
    let profile = caller.actor()?.ok_or_else(|| Error::Internal("a user has no profile".into()))?;
    let guards = credentials::guards(caller).into_iter().map(Key::from).collect();
    let typist = Typist { user, profile, connection: caller.connection, guards, as_of: caller.as_of };
    app.realtime.start_typing(key, typist)
}

/// Ends the caller's typing on a topic, because what was typed has been sent for instance.
pub fn stop(app: &App, caller: &Caller, key: &Key) {
    if let Some(user) = caller.user() {
        app.realtime.stop_typing(key, user.0);
    }
}
