//! The README's lines for the shell, run as they stand.

use std::process::{Command, Stdio};

use crate::support::Process;

/// The blocks that talk to a server, in their order: whoever reads on has the variables of what came before.
fn lines_of_curl() -> String {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("\n```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let talking: Vec<&str> = blocks.filter(|block| block.contains("$U")).collect();
    assert!(talking.len() >= 7, "the blocks were found: {talking:?}");
    talking.join("\n")
}

#[test]
#[ignore = "needs curl and bash: tests/run has them"]
fn every_line_of_curl_works_as_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::start(&format!("sqlite://{}/snippetbox.db", folder.path().display()));
    let lines = lines_of_curl().replace("http://127.0.0.1:8080", &process.url);
    // What is time enough for a person is too short for a machine that does ten other things.
    let lines = lines.replace("sleep 1", "sleep 2").replace("-m 2", "-m 4");
    // A variable that nobody has set is a mistake, and so is a failure other than of a stream that was ended (28).
    let script = format!(
        "set -u; trap 'code=$?; [ $code = 28 ] || echo \"FAILED with $code: $BASH_COMMAND\"' ERR\n{lines}\n
         trap - ERR; kill $(jobs -p) 2>/dev/null; exit 0"
    );
    let ran = Command::new("timeout")
        .args(["180", "bash", "-c", &script])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output();
    let ran = ran.expect("bash runs");
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    assert!(ran.status.success(), "a line did not come to its end ({}):\n{said}", ran.status);
    for mistake in ["FAILED", "/problems/", "unbound", "not found", "\"resume\":\"gap\"", "event: reset"] {
        assert!(!said.contains(mistake), "`{mistake}` in:\n{said}");
    }
    for due in [
        "\"role\":\"admin\"",
        "event: snippet_created",
        "\"resume\":\"resumed\"",
        "etag: \"2\"",
        "idempotent-replayed: true",
        "event: presence_diff",
        "event: build_done",
        "event: message_created",
        "event: notification_created",
        "event: metrics",
        "event: export_completed",
        "\"status\":\"completed\",\"progress\":100,\"processed\":1",
    ] {
        assert!(said.contains(due), "no `{due}` in:\n{said}");
    }
    // Its own answer, and then once by each of the four ways to resume.
    assert_eq!(said.matches("\"title\":\"Missed\",\"content\"").count(), 5, "{said}");
    process.kill();
}

/// What the program says at its start is for the shell, too.
#[test]
#[ignore = "needs curl and bash: tests/run has them"]
fn the_three_lines_of_the_greeting_work_as_they_stand() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::start(&format!("sqlite://{}/snippetbox.db", folder.path().display()));
    assert!(
        process.greeting.lines().next().is_some_and(|line| line.contains("SQLite")),
        "{}",
        process.greeting
    );
    let is_curl = |line: &&str| line.starts_with("curl ");
    let lines: Vec<&str> = process.greeting.lines().map(str::trim).filter(is_curl).collect();
    let [register, create, follow] = lines[..] else { panic!("three lines: {}", process.greeting) };
    // The last one follows for as long as one looks on.
    let script = format!("{register}\n{create}\ntimeout 4 {follow} || [ $? = 124 ]");
    let ran = Command::new("bash")
        .args(["-e", "-c", &script])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let said = String::from_utf8([ran.stdout, ran.stderr].concat()).expect("text");
    assert!(ran.status.success(), "{said}");
    for due in [r#""role":"admin""#, r#""title":"Hello""#, "event: ready", "event: snippet_created"] {
        assert!(said.contains(due), "no `{due}` in:\n{said}");
    }
    process.kill();
}
