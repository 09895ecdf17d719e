//! History page by page, for clients that ask instead of listening.

use std::{future::poll_fn, rc::Rc, task::Poll, time::Duration};

use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Wanted, begin};
use crate::{
    app::App,
    credentials::Caller,
    error::{Error, Result},
    realtime::{ConnectionStream, Frame, Hub},
};

/// How many events a page of history holds at most.
const PAGE: usize = 100;

/// A page of history, for clients that ask instead of listening.
#[derive(Debug, Serialize)]
pub struct HistoryPage {
    data: Vec<Box<RawValue>>,
    next_cursor: String,
    resume: &'static str,
}

/// Reads what comes after a place; where there is nothing yet, waits for it up to `wait`.
pub async fn history(
    app: &App,
    hub: &Rc<Hub>,
    caller: &Caller,
    wanted: Wanted<'_>,
    wait: Duration,
) -> Result<HistoryPage> {
    let (mut stream, resume) = begin(app, hub, caller, wanted).await?;
    let deadline = tokio::time::Instant::now() + wait;
    let mut data: Vec<Box<RawValue>> = Vec::new();
    while data.len() < PAGE {
        let frame = match poll_once(&mut stream).await {
            Poll::Ready(frame) => frame,
            Poll::Pending if !stream.is_live() => stream.next().await,
            Poll::Pending if !data.is_empty() => break,
            Poll::Pending => match tokio::time::timeout_at(deadline, stream.next()).await {
                Ok(frame) => frame,
                Err(_) => break,
            },
        };
        let Some(frame) = frame else { break };
        if frame.is_durable() {
            let envelope = serde_json::from_slice(frame.envelope());
            data.push(envelope.map_err(|error| Error::Internal(error.to_string()))?);
        }
    }
    Ok(HistoryPage { data, next_cursor: app.realtime.log.id(stream.position()), resume })
}

async fn poll_once(stream: &mut ConnectionStream) -> Poll<Option<Frame>> {
    poll_fn(|cx| Poll::Ready(stream.poll_next_unpin(cx))).await
}
