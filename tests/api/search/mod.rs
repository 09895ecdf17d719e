//! `/v1/search`

mod highlights;
mod hostile;
mod judged;

mod pages;
mod visibility;
mod words;

use reqwest::Url;
use serde_json::Value;

use crate::support::{Answer, Persona};

/// Searches; `rest` is what follows the query, such as `&limit=5`.
async fn search(person: &Persona, text: &str, rest: &str) -> Answer {
    person.get(&format!("/v1/search?q={}{rest}", encoded(text))).await
}

/// The text as a part of a URL.
fn encoded(text: &str) -> String {
    let url = Url::parse_with_params("http://x/", [("q", text)]).expect("a URL");
    url.query().and_then(|query| query.strip_prefix("q=")).expect("a query").to_owned()
}

/// The titles that are found, best first.
async fn titles(person: &Persona, text: &str) -> Vec<String> {
    titles_of(&search(person, text, "").await.expect(200).json())
}

fn titles_of(page: &Value) -> Vec<String> {
    let hits = page["data"].as_array().expect("a page has data");
    hits.iter().map(|hit| hit["snippet"]["title"].as_str().expect("a title").to_owned()).collect()
}
