//! Sealing: what the server hands out or stores, and must get back unchanged and unread by others.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::{
    ChaCha20Poly1305, Key, Nonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use sha2::{Digest as _, Sha256};

const NONCE: usize = 12;

/// SHA-256 over parts, each with its length, so that no two lists of parts look the same.
#[must_use]
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-256 over something that comes in pieces.
#[derive(Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Seals with ChaCha20-Poly1305 under keys that are derived from one secret.
#[derive(Clone)]
pub struct Sealer {
    secret: Vec<u8>,
}

impl Sealer {
    /// A sealer of this installation.
    #[must_use]
    pub fn new(secret: Vec<u8>) -> Self {
        Self { secret }
    }

    /// A value that only who knows the installation's secret can compute from the parts.
    #[must_use]
    pub fn derive(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut all: Vec<&[u8]> = vec![&self.secret];
        all.extend_from_slice(parts);
        digest(&all)
    }

    /// Seals a text for a purpose, with fresh randomness as nonce.
    #[must_use]
    pub fn seal(&self, purpose: &[&[u8]], random: [u8; 32], text: &[u8]) -> Vec<u8> {
        let nonce = &random[..NONCE];
        let sealed = self.cipher(purpose).encrypt(Nonce::from_slice(nonce), Payload::from(text));
        // Encrypting fails only for texts of 256 GiB; an empty seal opens to nothing.
        sealed.map(|sealed| [nonce, sealed.as_slice()].concat()).unwrap_or_default()
    }

    /// Opens what was sealed for the same purpose, and nothing else.
    #[must_use]
    pub fn open(&self, purpose: &[&[u8]], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        self.cipher(purpose).decrypt(Nonce::from_slice(nonce), Payload::from(sealed)).ok()
    }

    fn cipher(&self, purpose: &[&[u8]]) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(Key::from_slice(&self.derive(purpose)))
    }
}

/// Whether two secrets are equal. What is compared are digests, so the time it takes says nothing about the secrets.
#[must_use]
pub fn are_equal(given: &[u8], expected: &[u8]) -> bool {
    digest(&[given]) == digest(&[expected])
}

/// Bytes as URL-safe text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes behind a text of [`text`].
#[must_use]
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}
