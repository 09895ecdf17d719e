//! Passwords: hashed with argon2id, away from the threads that serve requests.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// How long a hash may wait for a core before the server says that it is overloaded.
const PATIENCE: Duration = Duration::from_secs(2);
/// More memory than glibc's allocator ever keeps for later (`M_MMAP_THRESHOLD` in mallopt(3): 32 MiB at most), in
/// blocks.
const NEVER_KEPT: usize = 32 * 1024 * 1024 / Block::SIZE + 1;

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
        let hashed = self.run(move || {
            let salt = Salt::generate();
            let output = derive(&argon2, password.0.as_bytes(), &salt)?;
            let hash = PasswordHash {
                algorithm: Algorithm::Argon2id.ident(),
                version: Some(Version::V0x13.into()),
                params: ParamsString::try_from(argon2.params())?,
                salt: Some(salt),
                hash: Some(Output::new(&output)?),
            };
            Ok(hash.to_string())
        });
        hashed.await?.map_err(|error: argon2::password_hash::Error| Error::Internal(error.to_string()))
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
        let matches = self.run(move || matches(&password, &hash).unwrap_or_default()).await?;
        Ok(known && matches)
    }

    /// A digest of a digest that costs as much as the hash of a password, always the same for the same salt.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when no core becomes free in time.
    pub async fn stretch(&self, digest: [u8; 32], salt: [u8; 32]) -> Result<[u8; 32]> {
        let argon2 = self.argon2.clone();
        let stretched = self.run(move || derive(&argon2, &digest, &salt));
        stretched.await?.map_err(|error| Error::Internal(error.to_string()))
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

/// What argon2 makes of an input. Its memory goes back to the system at once: the allocator would keep what one hash
/// has freed for each thread that ever worked one out, for as long as the server runs.
fn derive(argon2: &Argon2<'_>, input: &[u8], salt: &[u8]) -> argon2::Result<[u8; 32]> {
    let needed = argon2.params().block_count();
    let mut memory = Vec::new();
    // Only what is used of it takes room.
    memory.try_reserve_exact(needed.max(NEVER_KEPT)).map_err(|_| argon2::Error::OutOfMemory)?;
    memory.resize(needed, Block::new());
    let mut output = [0; 32];
    argon2.hash_password_into_with_memory(input, salt, &mut output, &mut memory)?;
    Ok(output)
}

/// Whether a password gives the output of a hash, with the parameters of that hash.
fn matches(password: &Password, hash: &str) -> argon2::password_hash::Result<bool> {
    let stored = PasswordHash::new(hash)?;
    let version = stored.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let algorithm = Algorithm::try_from(stored.algorithm.as_str())?;
    let argon2 = Argon2::new(algorithm, version, Params::try_from(&stored)?);
    let output = derive(&argon2, password.0.as_bytes(), stored.salt.as_deref().unwrap_or_default())?;
    Ok(stored.hash == Some(Output::new(&output)?)) // Compared in constant time.
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

    /// Made by the reference implementation, with parameters of its own.
    #[tokio::test]
    async fn a_hash_is_verified_with_its_own_parameters() {
        let hash = "$argon2id$v=19$m=4096,t=3,p=1$MDEyMzQ1Njc4OWFiY2RlZg$yKu3VvxpnGuioOMoo23yIk+ovTMwsjQzEGrIn1aXYmc";
        let passwords = Passwords::new(1).unwrap();
        for (guess, right) in [("correct horse", true), ("correct hors", false)] {
            assert_eq!(passwords.verify(Password::guess(guess), Some(hash.into())).await.unwrap(), right);
        }
        for broken in ["", "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg", "$scrypt$x"] {
            assert!(!passwords.verify(Password::guess("x"), Some(broken.into())).await.unwrap());
        }
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
