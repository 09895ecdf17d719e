//! Presence: who is looking at a topic, and who is typing there.

pub mod typing;
