//! `/v1/snippets`

mod conditions;
mod create;
mod list;
mod pages;
mod patch;
mod raw;
mod remove;
mod views;
mod visibility;

use crate::support::Persona;

/// The titles of a list, in its order.
async fn titles(person: &Persona, query: &str) -> Vec<String> {
    let page = person.get(&format!("/v1/snippets?{query}")).await.expect(200).json();
    let snippets = page["data"].as_array().expect("a page has data");
    snippets.iter().map(|snippet| snippet["title"].as_str().expect("a title").to_owned()).collect()
}
