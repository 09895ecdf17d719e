//! A request in the making; awaiting it sends it.

use std::fmt::Display;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, RequestBuilder, Response};
use serde_json::Value;

use super::answer::Answer;
use super::within;

/// How long an answer may take to begin, and then to end.
const PATIENCE: Duration = Duration::from_secs(60);

#[must_use = "a call is sent by awaiting it"]
pub struct Call {
    request: RequestBuilder,
    label: String,
}

impl Call {
    pub fn new(request: RequestBuilder, label: String) -> Self {
        Self { request, label }
    }

    /// Whether it asks for the operation of this method on this path, in which names stand for ids.
    pub fn is_of(&self, method: &str, template: &str) -> bool {
        let (asked, path) = self.label.split_once(' ').expect("a method and a path");
        let path = path.split('?').next().unwrap_or_default();
        let fits = |(part, pattern): (&str, &str)| part == pattern || pattern.starts_with('{');
        asked.eq_ignore_ascii_case(method)
            && path.split('/').count() == template.split('/').count()
            && path.split('/').zip(template.split('/')).all(fits)
    }

    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        self.request = self.request.header(name, value.to_string());
        self
    }

    /// Names the request, so that a repetition has no second effect.
    pub fn once(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    pub fn body(mut self, media_type: &str, body: impl Into<Body>) -> Self {
        self.request = self.request.header(CONTENT_TYPE, media_type).body(body);
        self
    }

    /// Sends the request and returns with the head of the answer, for bodies which do not end.
    pub async fn send(self) -> (String, Response) {
        let sent = within(PATIENCE, self.request.send()).await;
        let response = sent.unwrap_or_else(|| panic!("{}: no answer within {PATIENCE:?}", self.label));
        let response = response.unwrap_or_else(|error| panic!("{}: {error:?}", self.label));
        (self.label, response)
    }

    pub fn untyped_body(mut self, body: impl Into<Body>) -> Self {
        self.request = self.request.body(body);
        self
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = BoxFuture<'static, Answer>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (label, response) = self.send().await;
            let answer = within(PATIENCE, Answer::read(label.clone(), response)).await;
            answer.unwrap_or_else(|| panic!("{label}: the body does not end"))
        })
    }
}
