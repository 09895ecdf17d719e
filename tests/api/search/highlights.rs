//! Where a hit has what was looked for.

use serde_json::{Value, json};

use super::search;
use crate::support::{Persona, TestApp, on_both_databases};

on_both_databases![
    each_field_shows_where_it_fits,
    ranges_count_as_javascript_does,
    markup_stays_text,
    a_long_content_is_shown_in_pieces,
    a_typo_is_looked_for_in_the_beginning_of_a_content,
    the_answer_has_the_documented_shape,
];

/// The highlights of the one hit, in short: `field: text with [marks]`.
async fn marked(person: &Persona, text: &str) -> Vec<String> {
    let page = search(person, text, "").await.expect(200).json();
    let hits = page["data"].as_array().expect("a page has data");
    assert_eq!(hits.len(), 1, "{text}: {page}");
    let highlights = hits[0]["highlights"].as_array().expect("a hit has highlights");
    highlights.iter().map(mark).collect()
}

fn mark(highlight: &Value) -> String {
    let units: Vec<u16> = highlight["text"].as_str().expect("a text").encode_utf16().collect();
    let slice = |start: usize, end: usize| String::from_utf16(&units[start..end]).expect("whole characters");
    let mut out = format!("{}: ", highlight["field"].as_str().expect("a field"));
    let mut last = 0;
    for range in highlight["ranges"].as_array().expect("ranges") {
        let unit =
            |name: &str| usize::try_from(range[name].as_u64().expect("a number")).expect("a small number");
        let (start, end) = (unit("start"), unit("end"));
        assert!(last <= start && start < end && end <= units.len(), "{highlight}");
        out += &[slice(last, start), "[".to_owned(), slice(start, end), "]".to_owned()].concat();
        last = end;
    }
    assert!(last > 0, "nothing is marked in {highlight}");
    out + &slice(last, units.len())
}

async fn each_field_shows_where_it_fits(app: &TestApp) {
    let ann = app.user("ann").await;
    let content = "let map = HashMap::new();\nmap.insert(mapped);\nlet other = 1;";
    ann.has_snippet(json!({ "title": "A Map of maps", "tags": ["map", "other"], "content": content })).await;
    for (text, expected) in [
        (
            "map",
            vec![
                "title: A [Map] of [map]s",
                "tags: [map]",
                "content: let [map] = Hash[Map]::new();\n[map].insert([map]ped);\nlet other = 1;",
            ],
        ),
        (
            "map.insert(",
            vec!["title: A [Map] of maps", "tags: [map]", "content: [map.insert(]mapped);\nlet other = 1;"],
        ),
        ("insert other", vec!["tags: [other]", "content: map.[insert](mapped);\nlet [other] = 1;"]),
        ("shma", vec!["content: let map = Ha[shMa]p::new();\nmap.insert(mapped);\nlet other = 1;"]),
        ("isnert", vec!["content: map.[insert](mapped);\nlet other = 1;"]),
    ] {
        assert_eq!(marked(&ann, text).await, expected, "{text}");
    }
}

async fn ranges_count_as_javascript_does(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(
        json!({ "title": "\u{1F980}\u{1F980} ß crab", "content": "\u{0}é\u{1F600}=crab\u{1F980}" }),
    )
    .await;
    let expected = ["title: \u{1F980}\u{1F980} ß [crab]", "content: \u{0}é\u{1F600}=[crab]\u{1F980}"];
    assert_eq!(marked(&ann, "crab").await, expected);
    assert_eq!(
        marked(&ann, "=CRAB\u{1F980}").await,
        ["title: \u{1F980}\u{1F980} ß [crab]", "content: \u{0}é\u{1F600}[=crab\u{1F980}]"]
    );
}

async fn markup_stays_text(app: &TestApp) {
    let ann = app.user("ann").await;
    let text = "<script>alert(1)</script><mark>\u{2}\u{3}";
    ann.has_snippet(json!({ "title": text, "content": text })).await;
    let marked = marked(&ann, "alert").await;
    let expected = "<script>[alert](1)</script><mark>\u{2}\u{3}";
    assert_eq!(marked, [format!("title: {expected}"), format!("content: {expected}")]);
}

async fn a_long_content_is_shown_in_pieces(app: &TestApp) {
    let ann = app.user("ann").await;
    let filler = "some filler line\n".repeat(5_000);
    let content = format!("{filler}the alpha word\n{filler}x{}the omega word\n{filler}", "é".repeat(300));
    ann.has_snippet(json!({ "title": "long", "content": content })).await;
    let marked = marked(&ann, "omega alpha").await;
    assert_eq!(marked.len(), 2, "{marked:?}");
    assert!(marked[0].starts_with("content: the [alpha] word\nsome filler"), "{marked:?}");
    assert!(marked[1].starts_with("content: éé") && marked[1].contains("éthe [omega] word\n"), "{marked:?}");
    assert!(marked.iter().all(|piece| piece.chars().count() <= 215), "{marked:?}");
}

async fn a_typo_is_looked_for_in_the_beginning_of_a_content(app: &TestApp) {
    let ann = app.user("ann").await;
    for (word, before) in [("haystack", 60 * 1024), ("pitchfork", 70 * 1024)] {
        ann.has_snippet(json!({ "title": "T", "content": format!("{}{word}", "x ".repeat(before / 2)) }))
            .await;
    }
    let shown = marked(&ann, "haystcak").await;
    assert!(shown.len() == 1 && shown[0].ends_with("[haystack]"), "{shown:?}");
    assert_eq!(marked(&ann, "pitchfrok").await, [""; 0], "it is found, and not shown");
}

async fn the_answer_has_the_documented_shape(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = ann.has_snippet(json!({ "title": "Word", "content": "c" })).await;
    let mut page = search(&ann, "word", "").await.expect(200).json();
    assert!(page["took_ms"].take().as_f64().is_some_and(|took| took > 0.0));
    let mut summary = snippet.clone();
    let fields = summary.as_object_mut().expect("an object");
    let content = fields.remove("content").expect("content");
    fields.insert("excerpt".to_owned(), content);
    let highlight = json!({ "field": "title", "text": "Word", "ranges": [{ "start": 0, "end": 4 }] });
    let hit = json!({ "snippet": summary, "score": page["data"][0]["score"], "highlights": [highlight] });
    assert_eq!(page, json!({ "q": "word", "data": [hit], "next_cursor": null, "took_ms": null }));
    assert!(page["data"][0]["score"].as_i64().is_some_and(|score| score > 0));
}
