//! The program as its operator meets it: mistakes at the start, signals at the end.

use std::collections::HashSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Persona, Process, TestApp, on_both_databases, run_to_its_end};

// The session is opened at the time of the test's clock, and used at that of the system.
on_both_databases![
    a_signal_ends_the_server_in_time_with_streams_open with ["--session-ttl", "3650d"],
    a_signal_ends_the_server_in_time_whatever_its_clients_do with ["--session-ttl", "3650d"],
    a_database_newer_than_the_program_is_refused,
    a_log_in_a_file_has_no_colours,
    signing_in_leaves_no_memory_behind,
];

/// A mistake ends the program with code 2 and says what it is: on one line, and without a backtrace.
fn assert_is_told(arguments: &[&str], variables: &[(&str, &str)], told: &str) {
    let (code, said) = run_to_its_end(arguments, variables);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(told), "`{told}` is not said: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
}

#[test]
fn mistakes_of_the_operator_are_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("text");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    assert_is_told(&["--listen", &address, "--data-dir", data], &[], &address);
    // Not even root can make a folder there.
    assert_is_told(&["--listen", "127.0.0.1:0", "--data-dir", "/proc/no/such"], &[], "/proc/no/such");
    assert_is_told(&[], &[("SNIPPETBOX_LISTN", "127.0.0.1:1")], "SNIPPETBOX_LISTN");
    assert_is_told(&["--workers", "none"], &[], "--workers");
    assert_is_told(&["--database-url", "mysql://x"], &[], "--database-url");
    assert_is_told(&["serv"], &[], "serv");
    let nobody = "postgres://nobody@127.0.0.1:1/none";
    assert_is_told(&["--listen", "127.0.0.1:0", "--database-url", nobody], &[], "127.0.0.1:1/none");
    assert_is_told(&["--listen", "127.0.0.1:0", "--database-url", nobody], &[], "refused");
}

#[test]
fn a_place_that_cannot_hold_the_data_is_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    std::fs::write(path("file"), "This is no database, but a text. ".repeat(200)).expect("a file");
    std::fs::create_dir(path("folder")).expect("a folder");
    for (flag, value, told) in [
        ("--data-dir", path("file"), path("file")),
        ("--data-dir", path("file/below"), path("file/below")),
        ("--database-url", format!("sqlite://{}", path("folder")), path("folder")),
        ("--database-url", format!("sqlite://{}", path("file")), path("file")),
    ] {
        assert_is_told(&["--listen", "127.0.0.1:0", flag, &value], &[], &told);
    }
}

#[test]
fn a_mistake_does_not_tell_the_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("text");
    for url in [
        "postgre://ann:hunter22@127.0.0.1/db",
        "postgres://ann:hunter22@127.0.0.1:1/db",
        "postgres://ann:hunter22@127.0.0.1:x/db",
    ] {
        let flag = format!("--database-url={url}");
        let common = ["--listen", "127.0.0.1:0", "--data-dir", data];
        for (arguments, variables) in [
            ([&common[..], &["--database-url", url]].concat(), vec![]),
            ([&common[..], &[&flag]].concat(), vec![]),
            (common.to_vec(), vec![("SNIPPETBOX_DATABASE_URL", url)]),
        ] {
            let (code, said) = run_to_its_end(&arguments, &variables);
            assert_eq!(code, Some(2), "{said}");
            assert!(!said.contains("hunter22"), "{said}");
        }
    }
}

async fn a_database_newer_than_the_program_is_refused(app: &TestApp) {
    app.stop().await;
    app.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         SELECT 9999, 'a later one', success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1",
    )
    .await;
    assert_is_told(&["--listen", "127.0.0.1:0", "--database-url", &app.database_url()], &[], "9999");
}

async fn a_log_in_a_file_has_no_colours(app: &TestApp) {
    app.stop().await;
    let log = tempfile::NamedTempFile::new().expect("a file");
    let process = Process::start_logging(&app.database_url(), log.reopen().expect("the file"));
    process.end_by("TERM");
    let said = std::fs::read_to_string(log.path()).expect("text");
    assert!(said.contains("shutting down") && !said.contains('\u{1b}'), "{said}");
}

async fn signing_in_leaves_no_memory_behind(app: &TestApp) {
    let ann = app.user("ann").await;
    app.stop().await;
    let process = Process::start(&app.database_url());
    let ann = Persona { server: process.url.clone(), ..ann };
    ann.sign_in().await;
    let warm = process.resident_bytes();
    for _ in 0..4 {
        ann.sign_in().await;
    }
    // A hash works on 19 MiB.
    let grown = process.resident_bytes().saturating_sub(warm);
    assert!(grown < 8 << 20, "{grown} bytes more");
    process.kill();
}

async fn a_signal_ends_the_server_in_time_with_streams_open(app: &TestApp) {
    let ann = app.user("ann").await;
    app.stop().await;
    for signal in ["TERM", "INT"] {
        let process = Process::start(&app.database_url());
        let ann = Persona { server: process.url.clone(), ..ann.clone() };
        let streams = join_all((0..100).map(|_| ann.subscribe("topics=snippets"))).await;
        let closing = tokio::task::spawn_local(join_all(streams.into_iter().map(async |mut stream| {
            stream.retry = None; // What `ready` says is the same for all.
            let last = stream.until("closing").await;
            let told = (Instant::now(), stream.retry.expect("when to come back"));
            assert_eq!(last.data, json!({ "reason": "shutdown" }));
            stream.ended().await;
            told
        })));
        let ended = tokio::task::spawn_blocking(move || process.end_by(signal)).await.expect("it ends");
        let (status, took) = ended;
        assert!(status.success(), "SIG{signal}: {status}");
        assert!(took < Duration::from_secs(5), "SIG{signal}: ended after {took:?}");
        let (mut moments, retries): (Vec<_>, HashSet<_>) =
            closing.await.expect("every stream was told").into_iter().unzip();
        // They do not all come back at once: each has a time of its own, and they are told over the time to drain.
        assert!(retries.iter().all(|retry| (1_000..5_000).contains(retry)), "{retries:?}");
        assert!(retries.len() >= 20, "{retries:?}");
        moments.sort_unstable();
        let span = moments[moments.len() - 1] - moments[0];
        assert!(span >= Duration::from_millis(500), "all were told within {span:?}");
    }
}

/// Archives of one node are none of another's, unless they share where they are.
#[test]
fn a_cluster_without_common_files_is_warned_of() {
    let database = ["--listen", "127.0.0.1:0", "--database-url", "postgres://127.0.0.1:1/nowhere"];
    let cluster = [&database[..], &["--nats-url", "nats://127.0.0.1:1"]].concat();
    let (_, said) = run_to_its_end(&cluster, &[]);
    assert!(said.contains("WARN") && said.contains("--files-url"), "{said}");
    for common in ["s3://files", "file:///tmp"] {
        let (_, said) = run_to_its_end(&[&cluster[..], &["--files-url", common]].concat(), &[]);
        assert!(!said.contains("--files-url"), "{said}");
    }
}

async fn a_signal_ends_the_server_in_time_whatever_its_clients_do(app: &TestApp) {
    let ann = app.user("ann").await;
    let content = "x".repeat(60_000);
    for _ in 0..20 {
        ann.has_snippet(json!({ "content": content })).await;
    }
    app.stop().await;
    for handover in ["true", "false"] {
        let process =
            Process::start_with(&app.database_url(), &["--stream-handover", handover, "--drain", "500ms"]);
        let ann = Persona { server: process.url.clone(), ..ann.clone() };
        let _stalled = ann.read_slowly("topics=snippets&since=earliest").await;
        let half = "Content-Type: application/json\r\nContent-Length: 100\r\n";
        let mut upload = ann.begin(Method::POST, "/v1/snippets", half).await;
        upload.write_all(b"{").await.expect("a part of the body is sent");
        ann.get("/v1/me").await.expect(200); // By now the server has read the others, too.
        let ended = tokio::task::spawn_blocking(move || process.end_by("TERM")).await.expect("it ends");
        assert!(ended.0.success(), "{}", ended.0);
        assert!(ended.1 < Duration::from_secs(5), "handover {handover}: ended after {:?}", ended.1);
    }
}
