//! Bodies and queries as typed values, with everything that is wrong with them told at once.
//!
//! A type that can be read here derives `Deserialize` with `deny_unknown_fields`, and `ToSchema`: the schema that
//! clients read also says which fields there are and which must be given. Rules live in the types of the fields.

use std::{future::Future, pin::Pin};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::{Method, header},
    web,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use super::{caller, idempotency::Attempt};
use crate::error::{Error, Result, Violation};

/// How many bytes a body may have.
pub const BODY_LIMIT: usize = 1 << 20;

/// The JSON body of a request. It is not looked at before a caller that the handler names first is known.
pub struct Body<T> {
    /// What it says.
    pub input: T,
    /// How to recognise a repetition of the request.
    pub attempt: Attempt,
}

/// The query of a request.
pub struct Query<T>(pub T);

/// A query parameter that is `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// Yes.
    True,
    /// No.
    False,
}

impl Flag {
    /// Whether it says yes.
    #[must_use]
    pub fn is_true(self) -> bool {
        self == Self::True
    }
}

impl<T: DeserializeOwned + PartialSchema> FromRequest for Body<T> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, payload) = (req.clone(), web::Payload::from_request(&req.clone(), payload).into_inner());
        let known = caller::known(&req);
        Box::pin(async move {
            known.await;
            require_json(&req)?;
            let payload = payload.map_err(|_| Error::MalformedRequest("the body cannot be read"))?;
            let patience = caller::app(&req)?.settings.body_timeout;
            let bytes = tokio::time::timeout(patience, payload.to_bytes_limited(BODY_LIMIT))
                .await
                .map_err(|_| Error::SlowBody(patience))?
                .map_err(|_| Error::TooLarge { limit: BODY_LIMIT })?
                .map_err(|_| Error::MalformedRequest("the body ended too early"))?;
            let attempt = Attempt::of(&req, &bytes)?;
            Ok(Self { input: read_json(&bytes)?, attempt })
        })
    }
}

impl<T: DeserializeOwned + PartialSchema> FromRequest for Query<T> {
    type Error = Error;
    type Future = std::future::Ready<Result<Self>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(read_query(req.query_string()).map(Self))
    }
}

/// The media type of a body, without its parameters.
fn media_type(req: &HttpRequest) -> &str {
    let content_type = req.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(|value| value.split(';').next()).map(str::trim).unwrap_or_default()
}

/// Refuses a body that is sent as something else.
///
/// # Errors
/// [`Error::UnsupportedMediaType`], which names the right one.
pub fn require_media_type(req: &HttpRequest, wanted: &'static str) -> Result<()> {
    if media_type(req).eq_ignore_ascii_case(wanted) {
        Ok(())
    } else {
        Err(Error::UnsupportedMediaType(wanted))
    }
}

fn require_json(req: &HttpRequest) -> Result<()> {
    let essence = media_type(req);
    let patch = req.method() == Method::PATCH;
    if essence.eq_ignore_ascii_case("application/json")
        || (patch && essence.eq_ignore_ascii_case("application/merge-patch+json"))
    {
        return Ok(());
    }
    let wanted = if patch { "application/merge-patch+json or application/json" } else { "application/json" };
    Err(Error::UnsupportedMediaType(wanted))
}

fn read_json<T: DeserializeOwned + PartialSchema>(bytes: &[u8]) -> Result<T> {
    // Only an object: serde would read a list as the fields in their order.
    let object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let mistake = match serde_json::from_slice(bytes) {
        Ok(input) if object => return Ok(input),
        Ok(_) => return Err(Error::invalid("", "must be a JSON object")),
        Err(mistake) => mistake,
    };
    // The slow way, only to name everything that is wrong.
    let value = serde_json::from_slice::<Value>(bytes).map_err(|error| malformed(&error))?;
    let Value::Object(object) = value else {
        return Err(Error::invalid("", "must be a JSON object"));
    };
    let unknown = unknown_fields::<T>(&object);
    if !unknown.is_empty() {
        let violation = |name: String| Violation::pointer(pointer(&[name]), "is not known here");
        return Err(Error::UnknownFields(unknown.into_iter().map(violation).collect()));
    }
    let broken = broken_rules::<T>(&object);
    if broken.is_empty() {
        return Err(malformed(&mistake)); // A field that stands there twice, for instance.
    }
    let violation = |(path, detail): (Vec<String>, String)| Violation::pointer(pointer(&path), detail);
    Err(Error::Invalid(broken.into_iter().map(violation).collect()))
}

fn read_query<T: DeserializeOwned + PartialSchema>(query: &str) -> Result<T> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(query)
        .map_err(|_| Error::MalformedRequest("the query cannot be read"))?
        .into_inner();
    let mut object = Map::new();
    let mut violations = Vec::new();
    for (name, value) in pairs {
        if object.insert(name.clone(), Value::String(value)).is_some() {
            violations.push(Violation::parameter(name, "is given more than once"));
        }
    }
    let unknown = unknown_fields::<T>(&object);
    for name in &unknown {
        object.remove(name);
    }
    violations.extend(unknown.into_iter().map(|name| Violation::parameter(name, "is not known here")));
    if violations.is_empty()
        && let Ok(input) = serde_json::from_value(Value::Object(object.clone()))
    {
        return Ok(input);
    }
    let parameter = |(path, detail): (Vec<String>, String)| Violation::parameter(path.join("/"), detail);
    violations.extend(broken_rules::<T>(&object).into_iter().map(parameter));
    Err(Error::InvalidQuery(violations))
}

fn malformed(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let detail = text.split(" at line ").next().unwrap_or(&text).to_owned();
    Error::MalformedJson { detail, line: error.line(), column: error.column() }
}

/// The names of all fields of a type, and of those that must be given.
fn fields<T: PartialSchema>() -> (Vec<String>, Vec<String>) {
    match T::schema() {
        RefOr::T(Schema::Object(object)) => (object.properties.into_keys().collect(), object.required),
        _ => (Vec::new(), Vec::new()),
    }
}

fn unknown_fields<T: PartialSchema>(object: &Map<String, Value>) -> Vec<String> {
    let (known, _) = fields::<T>();
    object.keys().filter(|name| !known.contains(name)).cloned().collect()
}

/// Every rule that an object breaks: each field is judged alone, as if the others were right.
fn broken_rules<T: DeserializeOwned + PartialSchema>(
    object: &Map<String, Value>,
) -> Vec<(Vec<String>, String)> {
    let (_, required) = fields::<T>();
    let missing = required.into_iter().filter(|name| !object.contains_key(name));
    let mut broken: Vec<_> = missing.map(|name| (vec![name], "is required".to_owned())).collect();
    for (name, value) in object {
        let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut in_elements = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let alone = Value::Array(vec![element.clone()]);
            if let Some((mut path, detail)) = broken_rule::<T>(name, alone)
                && path.len() > 1
            {
                path[1] = index.to_string();
                in_elements.push((path, detail));
            }
        }
        if in_elements.is_empty() {
            broken.extend(broken_rule::<T>(name, value.clone()));
        } else {
            broken.extend(in_elements);
        }
    }
    broken
}

/// The first rule that a field breaks by itself, and where in it.
fn broken_rule<T: DeserializeOwned>(name: &str, value: Value) -> Option<(Vec<String>, String)> {
    let object = Value::Object(Map::from_iter([(name.to_owned(), value)]));
    let error = serde_path_to_error::deserialize::<_, T>(object).err()?;
    let path: Vec<String> = error.path().iter().map(ToString::to_string).collect();
    // An error at the root is about fields that are not there.
    if path.is_empty() || path[0] != name { None } else { Some((path, error.inner().to_string())) }
}

/// A JSON Pointer (RFC 6901).
fn pointer(path: &[String]) -> String {
    path.iter().flat_map(|part| ["/".to_owned(), part.replace('~', "~0").replace('/', "~1")]).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use utoipa::ToSchema;

    use super::{read_json, read_query};
    use crate::{credentials::Scope, error::Error};

    #[derive(Debug, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters here")]
    struct Input {
        name: String,
        #[serde(default)]
        scopes: Vec<Scope>,
        size: u8,
    }

    #[test]
    fn every_violation_is_told() {
        let body = br#"{"scopes": ["read", "x", "y"], "size": 300}"#;
        let Err(Error::Invalid(violations)) = read_json::<Input>(body) else { panic!("it must be refused") };
        let places: Vec<String> = violations.iter().map(|v| format!("{:?}", v.at)).collect();
        let expected = ["/name", "/scopes/1", "/scopes/2", "/size"].map(|p| format!("Pointer({p:?})"));
        assert_eq!(places, expected);
    }

    #[test]
    fn a_field_given_twice_is_malformed() {
        let body = br#"{"name": "a", "name": "b", "size": 3}"#;
        assert!(matches!(read_json::<Input>(body), Err(Error::MalformedJson { line: 1, .. })));
        assert!(matches!(read_query::<Input>("name=a&name=b"), Err(Error::InvalidQuery(_))));
    }
}
