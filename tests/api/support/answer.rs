//! What the server answered, with assertions which show it when they fail.

use std::fmt::{self, Display, Formatter};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde_json::Value;

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    label: String,
}

impl Answer {
    pub async fn read(label: String, response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let media_type = headers.get("content-type").and_then(|value| value.to_str().ok());
        let is_stream = media_type.is_some_and(|media_type| media_type.starts_with("text/event-stream"));
        let body = if is_stream {
            Bytes::new()
        } else {
            response.bytes().await.unwrap_or_else(|error| panic!("{label}: {error:?}"))
        };
        Self { status, headers, body, label }
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self}");
        self
    }

    /// Asserts a problem in the one form that all of them have, and returns it.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Problem {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{answer}");
        let body = answer.json();
        assert_eq!(body["code"], code, "{answer}");
        assert_eq!(body["type"], format!("/problems/{code}"), "{answer}");
        assert_eq!(body["status"], status, "{answer}");
        assert_eq!(body["request_id"], answer.header("x-request-id"), "{answer}");
        for text in ["title", "detail"] {
            assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "no {text}: {answer}");
        }
        Problem { body, headers: answer.headers }
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.find_header(name).unwrap_or_else(|| panic!("no header {name}: {self}"))
    }

    pub fn find_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The id of the resource that was answered.
    #[track_caller]
    pub fn id(&self) -> String {
        let body = self.json();
        body["id"].as_str().unwrap_or_else(|| panic!("no id: {self}")).to_owned()
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} answered {}", self.label, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "  {name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        let text: String = self.text().chars().take(2000).collect();
        write!(f, "  {text}")
    }
}

/// A refusal, already known to have the right form.
#[derive(Debug)]
pub struct Problem {
    pub body: Value,
    pub headers: HeaderMap,
}

impl Problem {
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    /// The places of all violations in the body, sorted.
    pub fn pointers(&self) -> Vec<&str> {
        self.places("pointer")
    }

    /// The names of all query parameters which were refused, sorted.
    pub fn parameters(&self) -> Vec<&str> {
        self.places("parameter")
    }

    fn places(&self, kind: &str) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        for error in errors {
            assert!(error["detail"].as_str().is_some_and(|text| !text.is_empty()), "no detail: {error}");
        }
        let mut places: Vec<&str> = errors.iter().filter_map(|error| error[kind].as_str()).collect();
        assert_eq!(places.len(), errors.len(), "violations without {kind}: {}", self.body);
        places.sort_unstable();
        places
    }

    /// The body without what differs between two equal refusals.
    pub fn without_request(&self) -> Value {
        let mut body = self.body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("request_id");
            fields.remove("instance");
        }
        body
    }
}
