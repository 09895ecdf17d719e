//! From the frames of a connection to the bytes of a response.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, MessageBody},
    http::header::{self, ContentEncoding},
    web::Bytes,
};
use futures_util::Stream as _;

use crate::realtime::ConnectionStream;

/// The form in which a stream sends its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Server-Sent Events.
    EventStream,
    /// A JSON envelope on each line.
    Lines,
}

/// A response body that sends the frames of a connection for as long as it is open.
struct StreamBody {
    frames: ConnectionStream,
    form: Form,
}

impl MessageBody for StreamBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let form = self.form;
        Pin::new(&mut self.frames).poll_next(cx).map(|frame| {
            frame.map(|frame| {
                Ok(match form {
                    Form::EventStream => frame.sse(),
                    Form::Lines => frame.line(),
                })
            })
        })
    }
}

/// Answers with a stream; a request for the head alone gets no body.
#[must_use]
pub fn respond(frames: ConnectionStream, form: Form, head_only: bool) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .content_type(match form {
            Form::EventStream => "text/event-stream",
            Form::Lines => "application/x-ndjson",
        })
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        // Compression would hold events back to fill its blocks.
        .insert_header(ContentEncoding::Identity);
    if head_only { response.finish() } else { response.body(StreamBody { frames, form }) }
}
