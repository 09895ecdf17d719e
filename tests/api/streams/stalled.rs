//! Readers that take nothing cost the others nothing, and are closed.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{EventStream, Persona, Process, TestApp, eventually, on_both_databases};

// The session is opened at the time of the test's clock, and used at that of the system.
on_both_databases![stalled_readers_are_closed_and_complete_after_resuming with ["--session-ttl", "3650d"]];

const HEALTHY: usize = 250;
const EVENTS: usize = 12;
/// By how much the other tests that run may slow down the half of all events.
const NOISE: Duration = Duration::from_millis(250);
/// How many of them come before others stall.
const ALONE: usize = 5;
/// Together far more than a socket and a queue hold.
const PAYLOAD: usize = 60_000;
/// How many take nothing.
const STALLED: u64 = 2;
/// What may wait for one connection: 64 KiB, and the frame that was taken last.
const QUEUE: u64 = 128 * 1024;
/// What the rest of the events may add: at most what is promised for each connection.
const MEMORY: usize = (HEALTHY + 2) * (64 << 10);

/// A client that sends its request and then takes nothing.
async fn stall(address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut stream = socket.connect(address.parse().expect("an address")).await.expect("a connection");
    let request = format!("GET /v1/events?topics=snippets HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut first = [0; 16];
    stream.read_exact(&mut first).await.expect("the answer begins");
    stream
}

pub(super) async fn stalled_readers_are_closed_and_complete_after_resuming(app: &TestApp) {
    let ann = app.user("ann").await;
    app.stop().await;
    let process = Process::start_with(&app.database_url(), &["--stall-timeout", "25s"]);
    let ann = Persona { server: process.url.clone(), ..ann };
    let address = process.url.trim_start_matches("http://");
    let anonymous = ann.signed_out();
    let mut healthy = join_all((0..HEALTHY).map(|_| anonymous.subscribe("topics=snippets"))).await;
    let cursor = ann.get("/v1/snippets").await.expect(200).header("snippetbox-cursor").to_owned();
    let content = "x".repeat(PAYLOAD);
    let (mut warm, mut stalled, mut took) = (0, Vec::new(), Vec::new());
    for number in 0..EVENTS {
        if number == ALONE {
            warm = process.resident_bytes(); // By now every connection has its buffers.
            for _ in 0..STALLED {
                stalled.push(stall(address).await);
            }
        }
        tell(&ann, &mut healthy, &format!("{number}"), &content).await;
        // A small one, because so many readers in this process need half a second for a large one.
        took.push(tell(&ann, &mut healthy, &format!("{number} again"), "").await);
    }
    assert_undisturbed(&took[..ALONE], &took[ALONE..]);
    // It may be from before they stalled, or from when healthy ones had not taken all.
    let waiting = async || {
        let waiting = ann.figure("snippetbox_stream_backlog_bytes").await?;
        (1..=QUEUE * STALLED).contains(&waiting).then_some(())
    };
    eventually("some waits for stalled readers, and no more than a queue holds", waiting).await;
    let grown = process.resident_bytes().saturating_sub(warm);
    assert!(grown <= MEMORY, "{} MB more memory", grown >> 20);
    let cut =
        async || (ann.figure("snippetbox_streams_cut_with_backlog_total").await? == STALLED).then_some(());
    eventually("stalled readers are cut", cut).await;
    for stream in stalled {
        let taken = drain(stream).await;
        assert!(
            taken < (EVENTS - ALONE) * PAYLOAD,
            "it was closed before it had everything, after {taken} bytes"
        );
    }
    let mut resumed = anonymous.subscribe(&format!("topics=snippets&since={cursor}")).await;
    for number in 0..EVENTS {
        for title in [format!("{number}"), format!("{number} again")] {
            assert_eq!(resumed.next().await.data["title"], title);
        }
    }
    process.kill();
}

/// Publishes a snippet, and tells how long it took until every healthy reader had it.
async fn tell(ann: &Persona, healthy: &mut [EventStream], title: &str, content: &str) -> Duration {
    let begun = Instant::now();
    ann.has_snippet(json!({ "title": title, "content": format!("{title} {content}") })).await;
    let told = join_all(healthy.iter_mut().map(EventStream::next)).await;
    assert!(told.iter().all(|event| event.data["title"] == title), "healthy readers keep up");
    begun.elapsed()
}

/// Healthy readers wait no longer for their events when others have stalled.
fn assert_undisturbed(alone: &[Duration], beside: &[Duration]) {
    let median = |spans: &[Duration]| {
        let mut spans = spans.to_vec();
        spans.sort_unstable();
        spans[spans.len() / 2]
    };
    println!("to all of {HEALTHY}: {alone:?} alone, {beside:?} beside others that have stalled");
    assert!(
        median(beside) <= 2 * median(alone) + NOISE,
        "{alone:?} alone, {beside:?} beside others that have stalled"
    );
}

/// Takes what is left up to the end or the reset, and tells how much it was.
async fn drain(mut stream: TcpStream) -> usize {
    let (mut buffer, mut taken) = (vec![0; 65_536], 0);
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return taken,
            Ok(n) => taken += n,
        }
    }
}
