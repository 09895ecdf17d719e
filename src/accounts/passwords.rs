//! Passwords: hashed with argon2id, away from the threads that serve requests.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// How long a hash may wait for a core before the server says that it is overloaded.
const PATIENCE: Duration = Duration::from_secs(2);

/// A password in the clear: 8 to 200 characters. It is never stored, logged or shown.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(String);

impl TryFrom<String> for Password {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if !(8..=200).contains(&text.chars().count()) {
            return Err("must have 8 to 200 characters");
        }
        Ok(Self(text))
    }
}

impl Password {
    /// A password to be tried, which need not be one that could be chosen.
    #[must_use]
    pub fn guess(text: &str) -> Self {
        Self(text.chars().take(200).collect())
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Hashes and verifies passwords, at most as many at once as there are cores.
pub struct Passwords {
    argon2: Argon2<'static>,
    cores: Arc<Semaphore>,
    /// Verified in place of the hash of an account that does not exist, to take the same time.
    nobody: tokio::sync::OnceCell<String>,
}

impl Passwords {
    /// argon2id with 19 MiB, two passes and one lane, as OWASP's Password Storage Cheat Sheet recommends.
    ///
    /// # Errors
    /// Never with these figures; the library checks them.
    pub fn new(cores: usize) -> Result<Self> {
        let params = Params::new(19_456, 2, 1, None).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            cores: Arc::new(Semaphore::new(cores)),
            nobody: tokio::sync::OnceCell::new(),
        })
    }

    /// The hash to store for a password.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when no core becomes free in time.
    pub async fn hash(&self, password: Password) -> Result<String> {
        let argon2 = self.argon2.clone();
        self.run(move || {
            let hash = argon2.hash_password(password.0.as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|error| Error::Internal(error.to_string()))
        })
        .await?
    }

    /// Whether a password is the one behind a stored hash. Without a hash the answer is no, after the same work.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when no core becomes free in time.
    pub async fn verify(&self, password: Password, hash: Option<String>) -> Result<bool> {
        let known = hash.is_some();
        let hash = match hash {
            Some(hash) => hash,
            None => self.nobody.get_or_try_init(|| self.hash(Password("nobody".into()))).await?.clone(),
        };
        let argon2 = self.argon2.clone();
        let matches = self
            .run(move || {
                PasswordHash::new(&hash)
                    .is_ok_and(|hash| argon2.verify_password(password.0.as_bytes(), &hash).is_ok())
            })
            .await?;
        Ok(known && matches)
    }

    /// A digest of a digest that costs as much as the hash of a password, always the same for the same salt.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when no core becomes free in time.
    pub async fn stretch(&self, digest: [u8; 32], salt: [u8; 32]) -> Result<[u8; 32]> {
        let argon2 = self.argon2.clone();
        self.run(move || {
            let mut stretched = [0; 32];
            let done = argon2.hash_password_into(&digest, &salt, &mut stretched);
            done.map(|()| stretched).map_err(|error| Error::Internal(error.to_string()))
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let core = self.core().await?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(core); // Held by the work itself: a request that is given up does not free its core early.
            result
        });
        done.await.map_err(|error| Error::Internal(error.to_string()))
    }

    async fn core(&self) -> Result<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.cores).acquire_owned();
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(Ok(core)) => Ok(core),
            _ => Err(Error::Overloaded),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Password, Passwords};
    use crate::error::Error;

    async fn fastest(passwords: &Passwords, hash: Option<String>) -> Duration {
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            assert!(!passwords.verify(Password::guess("a wrong guess"), hash.clone()).await.unwrap());
            fastest = fastest.min(begun.elapsed());
        }
        fastest
    }

    #[tokio::test]
    async fn a_guess_at_nobody_takes_as_long_as_one_at_somebody() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords.hash(Password("correct horse".into())).await.unwrap();
        let (known, unknown) = (fastest(&passwords, Some(hash)).await, fastest(&passwords, None).await);
        assert!(unknown > known / 2 && known > unknown / 2, "{known:?} and {unknown:?}");
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_core_is_told_so() {
        let passwords = Passwords::new(1).unwrap();
        let busy = passwords.core().await.unwrap();
        let refused = passwords.hash(Password("correct horse".into())).await;
        assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
        drop(busy);
        passwords.hash(Password("correct horse".into())).await.unwrap();
    }
}
