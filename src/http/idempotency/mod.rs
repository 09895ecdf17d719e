//! Idempotency keys: a POST that is repeated has its effect once, and gets the first answer again.
//!
//! The answer is stored in the transaction of its effect, so there is never one without the other. It is sealed
//! under a key that needs the Idempotency-Key itself: an answer may hold a token, and the database must not. The
//! Idempotency-Key is never stored, and nothing from which a password could be guessed fast is.

mod store;

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    accounts::Passwords,
    app::App,
    credentials::{self, Caller, Identity},
    db::WriteTx,
    error::{Error, Result},
    seal,
};

/// How long a first answer is kept.
const KEPT: Duration = Duration::from_hours(24);

/// What tells whether a request is the repetition of another.
pub struct Attempt {
    key: Option<String>,
    fingerprint: [u8; 32],
}

impl Attempt {
    /// Reads the key of a request with the given body.
    ///
    /// # Errors
    /// When the key is not 1 to 255 visible ASCII characters.
    pub fn of(req: &HttpRequest, body: &[u8]) -> Result<Self> {
        const RULE: Error =
            Error::MalformedRequest("Idempotency-Key must be 1 to 255 visible ASCII characters");
        let Some(value) = req.headers().get("idempotency-key") else {
            return Ok(Self { key: None, fingerprint: [0; 32] });
        };
        let key = value.to_str().map_err(|_| RULE)?;
        if !(1..=255).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RULE);
        }
        let parts =
            [req.method().as_str().as_bytes(), req.uri().to_string().as_bytes(), body].map(<[u8]>::to_vec);
        let fingerprint = seal::digest(&[&parts[0], &parts[1], &parts[2]]);
        Ok(Self { key: Some(key.to_owned()), fingerprint })
    }

    /// The same attempt when its body holds a password: what is stored of it costs a guess as much as the stored
    /// password does.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when no core becomes free in time.
    pub async fn with_password(self, passwords: &Passwords) -> Result<Self> {
        let Some(key) = &self.key else { return Ok(self) };
        let salt = seal::digest(&[b"idempotency salt", key.as_bytes()]);
        Ok(Self { fingerprint: passwords.stretch(self.fingerprint, salt).await?, ..self })
    }
}

/// An answer that can be stored and given again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    /// A success with a JSON body.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_string(value).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self { status: status.as_u16(), headers: Vec::new(), body })
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with(mut self, name: &HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name.to_string(), value.into()));
        self
    }

    fn into_response(self, replayed: bool) -> Result<HttpResponse> {
        let broken = |_| Error::Internal("a stored answer cannot be given again".into());
        let mut response = HttpResponseBuilder::new(StatusCode::from_u16(self.status).map_err(broken)?);
        for (name, value) in self.headers {
            let value = HeaderValue::try_from(value).map_err(|error| Error::Internal(error.to_string()))?;
            response.append_header((name, value));
        }
        if replayed {
            response.insert_header(("Idempotent-Replayed", "true"));
        }
        Ok(response.insert_header((header::CONTENT_TYPE, "application/json")).body(self.body))
    }
}

/// The keys whose first request is still running on this node.
#[derive(Default)]
pub struct Running(Mutex<HashSet<[u8; 32]>>);

struct Turn<'a>(&'a Running, [u8; 32]);

impl Running {
    fn enter(&self, lookup: [u8; 32]) -> Result<Turn<'_>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.insert(lookup) { Ok(Turn(self, lookup)) } else { Err(Error::IdempotencyInProgress) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// What is known of the answer when the effect is committed.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Given(Answer),
    /// The answer can only be told after the commit, from this number.
    Numbered(i64),
}

/// Runs the effect of a POST in a transaction of its own, once for each key of a user.
///
/// # Errors
/// What the effect says; a failure leaves nothing behind, so the same key may be tried again.
pub async fn once<F>(app: &App, caller: &Caller, attempt: &Attempt, effect: F) -> Result<HttpResponse>
where
    F: AsyncFnOnce(&mut WriteTx) -> Result<Answer>,
{
    let given = async |tx: &mut WriteTx| effect(tx).await.map(Outcome::Given);
    match settle(app, caller, attempt, given).await? {
        (Outcome::Given(answer), replayed) => answer.into_response(replayed),
        (Outcome::Numbered(_), _) => Err(Error::Internal("a stored answer is none".into())),
    }
}

/// Like [`once`], for an effect that tells and writes nothing: where no answer is kept, nobody waits for a commit.
///
/// # Errors
/// What the effect says.
pub async fn told<F>(app: &App, caller: &Caller, attempt: &Attempt, effect: F) -> Result<HttpResponse>
where
    F: AsyncFnOnce(&mut WriteTx) -> Result<Answer>,
{
    if attempt.key.is_some() {
        return once(app, caller, attempt, effect).await;
    }
    let mut tx = credentials::begin(app, caller).await?;
    let answer = effect(&mut tx).await?.into_response(false);
    let mut commit = Box::pin(tx.commit());
    // Its first step lets other writes go on.
    if futures_util::FutureExt::now_or_never(&mut commit).is_none() {
        actix_web::rt::spawn(commit);
    }
    answer
}

/// Like [`once`], for an answer that is told from the number of an event that the effect has appended. Where a
/// sequencer gives the events their places, the answer is known only after the commit, and stored then.
///
/// # Errors
/// What the effect or the answer says.
pub async fn once_then<F, A>(
    app: &App,
    caller: &Caller,
    attempt: &Attempt,
    effect: F,
    answer: A,
) -> Result<HttpResponse>
where
    F: AsyncFnOnce(&mut WriteTx) -> Result<i64>,
    A: AsyncFnOnce(i64) -> Result<Answer>,
{
    if app.db.postgres().is_none() {
        return once(app, caller, attempt, async |tx| answer(effect(tx).await?).await).await;
    }
    let numbered = async |tx: &mut WriteTx| effect(tx).await.map(Outcome::Numbered);
    let (outcome, replayed) = settle(app, caller, attempt, numbered).await?;
    let number = match outcome {
        Outcome::Given(answer) => return answer.into_response(replayed),
        Outcome::Numbered(number) => number,
    };
    let answer = answer(number).await?;
    if let Some(place) = Place::of(caller, attempt)
        && let Err(error) = place.store_final(app, answer.clone()).await
    {
        tracing::warn!(%error, "an answer could not be stored; a repetition is answered from its number");
    }
    answer.into_response(replayed)
}

/// Where the answer to an attempt is kept.
struct Place<'a> {
    /// The user; of somebody unknown, the request itself: strangers that choose the same key never meet.
    owner: Vec<u8>,
    key: &'a str,
    lookup: [u8; 32],
    /// Of the request and of what its credential may do: an answer that a stronger one got is not for a weaker one.
    fingerprint: [u8; 32],
}

impl<'a> Place<'a> {
    fn of(caller: &Caller, attempt: &'a Attempt) -> Option<Self> {
        let key = attempt.key.as_deref()?;
        let owner = caller.user().map_or(attempt.fingerprint.to_vec(), |user| user.0.as_bytes().to_vec());
        let lookup = seal::digest(&[b"idempotency lookup", &owner, key.as_bytes()]);
        let powers = caller.identity.as_ref().map_or_else(String::new, Identity::powers);
        let parts = [b"idempotency fingerprint", key.as_bytes(), &attempt.fingerprint, powers.as_bytes()];
        Some(Self { owner, key, lookup, fingerprint: seal::digest(&parts) })
    }

    fn purpose(&self) -> [&[u8]; 3] {
        [b"idempotency", &self.owner, self.key.as_bytes()]
    }

    fn seal(&self, app: &App, outcome: &Outcome) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(outcome).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(app.sealer.seal(&self.purpose(), app.ids.secret(), &text))
    }

    fn open(&self, app: &App, sealed: &[u8]) -> Result<Outcome> {
        let outcome =
            app.sealer.open(&self.purpose(), sealed).and_then(|text| serde_json::from_slice(&text).ok());
        outcome.ok_or_else(|| Error::Internal("a stored answer cannot be opened".into()))
    }

    async fn store_final(&self, app: &App, answer: Answer) -> Result<()> {
        let sealed = self.seal(app, &Outcome::Given(answer))?;
        let mut tx = app.db.write().await?;
        store::update(tx.conn().await?, &self.lookup, &sealed).await?;
        tx.commit().await
    }
}

/// What came of the first request, and whether that was an earlier one.
async fn settle<F>(app: &App, caller: &Caller, attempt: &Attempt, effect: F) -> Result<(Outcome, bool)>
where
    F: AsyncFnOnce(&mut WriteTx) -> Result<Outcome>,
{
    let Some(place) = Place::of(caller, attempt) else {
        let mut tx = credentials::begin(app, caller).await?;
        let outcome = effect(&mut tx).await?;
        tx.commit().await?;
        return Ok((outcome, false));
    };
    let _turn = app.running.enter(place.lookup)?;
    let now = app.clock.now();
    // Looked for in the transaction, which sees what others have written and not committed yet: a request that was
    // broken off may still be on its way.
    let mut tx = credentials::begin(app, caller).await?;
    let found = store::find(&mut tx, &place.lookup).await?;
    let outdated = found.as_ref().is_some_and(|stored| stored.created_at <= now.minus(KEPT));
    if let Some(stored) = found.filter(|_| !outdated) {
        if stored.fingerprint != place.fingerprint {
            return Err(Error::IdempotencyKeyReused);
        }
        return Ok((place.open(app, &stored.answer)?, true));
    }
    if outdated {
        store::delete(&mut tx, &place.lookup).await?;
    }
    let outcome = effect(&mut tx).await?;
    let sealed = place.seal(app, &outcome)?;
    let stored = store::insert(&mut tx, &place.lookup, &place.fingerprint, &sealed, now).await;
    if stored.as_ref().is_err_and(Error::is_unique_violation) {
        return Err(Error::IdempotencyInProgress); // Another node has answered the same request meanwhile.
    }
    stored?;
    tx.commit().await?;
    Ok((outcome, false))
}

/// Forgets answers that are older than a day.
///
/// # Errors
/// When the database does not answer.
pub async fn remove_expired(app: &App) -> Result<()> {
    let mut tx = app.db.write().await?;
    store::delete_before(tx.conn().await?, app.clock.now().minus(KEPT)).await?;
    tx.commit().await
}
