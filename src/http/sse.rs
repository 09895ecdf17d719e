//! From the frames of a connection to the bytes of a response.
//!
//! Where the client's socket is at hand, it is handed over to the hub after the head: see `Handover`. Everywhere
//! else (HTTP/1.0, HTTP/2, behind TLS, on a connection that has served other requests) the frames go through an
//! ordinary body.

use std::{
    cell::{Cell, RefCell},
    net::TcpStream,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    http::{
        Version,
        header::{self, ContentEncoding},
    },
    web::Bytes,
};
use futures_util::Stream as _;

use crate::realtime::{ConnectionStream, Form, take_over};

/// The longest first frame after which a socket is handed over: a fresh socket takes it and the head at once.
const FIRST_FRAME: usize = 8 * 1024;

/// What is known of the connection that a request came on.
pub struct ClientSocket {
    /// The same socket once more, until a stream takes it.
    socket: RefCell<Option<TcpStream>>,
    requests: Cell<u32>,
}

impl ClientSocket {
    /// Remembers the socket of a connection that was just accepted.
    ///
    /// # Errors
    /// When the process has no room for one more descriptor.
    pub fn of(socket: &impl AsFd) -> std::io::Result<Self> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        Ok(Self { socket: RefCell::new(Some(socket.into())), requests: Cell::new(0) })
    }

    /// Counts a request. Only the first one may hand the socket over: behind another one, bytes of its response
    /// might still wait to be sent. Later ones need the descriptor no more.
    pub fn count_request(&self) {
        self.requests.set(self.requests.get().saturating_add(1));
        if self.requests.get() > 1 {
            self.socket.take();
        }
    }

    fn take(req: &HttpRequest) -> Option<TcpStream> {
        let plain = req.version() == Version::HTTP_11
            && !req.headers().contains_key(header::CONTENT_LENGTH)
            && !req.headers().contains_key(header::TRANSFER_ENCODING);
        req.conn_data::<Self>().filter(|_| plain)?.socket.take()
    }
}

/// A response body that sends the frames of a connection for as long as it is open.
struct StreamBody {
    /// Gone when it was handed over.
    frames: Option<ConnectionStream>,
    form: Form,
    handover: Handover,
}

/// How far the handing over of the socket has come. It relies on three things that a test pins: the server writes
/// out what it has when a body has nothing more for the moment; it drops a connection whose body fails, with all its
/// buffers; and it does so without shutting the socket down, of which the hub has a descriptor of its own.
enum Handover {
    /// The head is about to be sent, with the first frame.
    First(TcpStream),
    /// Both are being written out.
    Flush(TcpStream),
    /// The hub may have the socket.
    Ready(TcpStream),
    /// The frames go through this body.
    No,
}

/// The failure by which a body tells the HTTP server to let go of a connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection was handed over to the hub")]
pub struct HandedOver;

impl StreamBody {
    fn next_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(frames) = &mut self.frames else { return Poll::Ready(None) };
        let form = self.form;
        Pin::new(frames).poll_next(cx).map(|frame| frame.map(|frame| frame.body(form)))
    }

    /// Whether the socket could be handed over.
    fn hand_over(&mut self, socket: TcpStream) -> bool {
        let Some(frames) = self.frames.take() else { return false };
        self.frames = take_over(frames, socket, self.form).err();
        self.frames.is_none()
    }
}

impl MessageBody for StreamBody {
    type Error = HandedOver;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, HandedOver>>> {
        match std::mem::replace(&mut self.handover, Handover::No) {
            Handover::First(socket) => {
                let first = self.next_frame(cx);
                self.handover = match &first {
                    Poll::Pending => Handover::First(socket),
                    Poll::Ready(Some(frame)) if frame.len() <= FIRST_FRAME => Handover::Flush(socket),
                    Poll::Ready(_) => Handover::No,
                };
                return first.map(|frame| frame.map(Ok));
            }
            Handover::Flush(socket) => {
                self.handover = Handover::Ready(socket);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Handover::Ready(socket) => {
                if self.hand_over(socket) {
                    return Poll::Ready(Some(Err(HandedOver)));
                }
            }
            Handover::No => {}
        }
        self.next_frame(cx).map(|frame| frame.map(Ok))
    }
}

/// Answers with a stream; a request for the head alone gets no body. With `handover` the socket may go to the hub.
#[must_use]
pub fn respond(
    req: &HttpRequest,
    frames: ConnectionStream,
    form: Form,
    (head_only, handover): (bool, bool),
) -> HttpResponse {
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
    if head_only {
        return response.finish();
    }
    // The connection ends with the stream: a proxy that keeps it would send another request into a closed socket.
    response.force_close();
    if req.version() < Version::HTTP_11 {
        // It knows no chunks: the stream ends where the connection does.
        let mut response = response.body(StreamBody { frames: Some(frames), form, handover: Handover::No });
        response.head_mut().no_chunking(true);
        return response;
    }
    let socket = if handover { ClientSocket::take(req) } else { None };
    let handover = socket.map_or(Handover::No, Handover::First);
    response.body(StreamBody { frames: Some(frames), form, handover })
}
