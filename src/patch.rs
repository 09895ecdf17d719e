//! Fields of a JSON Merge Patch, in which null removes.

use serde::{Deserialize, Deserializer, de::Error as _};

/// A field that may be left out but not removed.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(field)?.map(Some).ok_or_else(|| D::Error::custom("cannot be removed"))
}

/// A field that goes back to its default when it is removed.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    field: D,
) -> Result<Option<T>, D::Error> {
    Ok(Some(Option::deserialize(field)?.unwrap_or_default()))
}
