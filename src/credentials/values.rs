//! The rules for what a credential is made of.

use serde::{Deserialize, Deserializer, de::Error as _};

use super::Scope;
use crate::streams::Topic;

/// The name of a topic that could exist: a token for a misspelt one would only fail later, out of sight.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TopicName(pub(super) String);

impl TryFrom<String> for TopicName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if Topic::parse(&text).is_some() { Ok(Self(text)) } else { Err("is not the name of a topic") }
    }
}

pub(super) fn token_name<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let good = |name: &String| !name.trim().is_empty() && name.chars().count() <= 80;
    ruled(input, good, "must have 1 to 80 characters, not only blanks")
}

pub(super) fn scopes<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Scope>, D::Error> {
    let twice = |given: &[Scope]| (1..given.len()).any(|index| given[..index].contains(&given[index]));
    ruled(input, |given: &Vec<_>| !given.is_empty() && !twice(given), "must be 1 to 4 different scopes")
}

pub(super) fn topics<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<TopicName>>, D::Error> {
    let good = |names: &Option<Vec<_>>| names.as_ref().is_none_or(|names| (1..=100).contains(&names.len()));
    ruled(input, good, "must be 1 to 100 topics")
}

pub(super) fn ttl<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u32>, D::Error> {
    ruled(input, |ttl: &Option<u32>| ttl.is_none_or(|ttl| (1..=3_600).contains(&ttl)), "must be 1 to 3600")
}

/// Reads a field, unless it breaks the field's rule.
fn ruled<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
    good: impl FnOnce(&T) -> bool,
    rule: &str,
) -> Result<T, D::Error> {
    T::deserialize(input).and_then(|value| if good(&value) { Ok(value) } else { Err(D::Error::custom(rule)) })
}
