//! Streams whose socket was taken over from the HTTP server: the hub writes to them itself.
//!
//! An HTTP server keeps two buffers and a state machine for each connection, and every event goes through them. Once
//! the head of a response is out, a stream needs none of that: what is written from then on are chunks that were
//! encoded once for everybody. The hub sends them as soon as it has them, many in one system call; only where the
//! socket takes no more, where history is read, or where the client leaves, a task of the connection steps in.

use std::{
    cell::{Cell, RefCell},
    io::{ErrorKind, IoSlice, Result as IoResult},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use tokio::net::TcpStream;

use super::{connection::State, frame::Form, stream::ConnectionStream};

/// How many frames are sent in one system call at most.
const SLICES: usize = 64;
/// How many bytes are taken from the queue at once: what the kernel holds for a socket before it asks to wait.
const BURST: usize = 16 * 1024;
/// The chunk that ends a body.
const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

/// A client's socket, with the bytes that it has not taken yet.
pub(super) struct Socket {
    stream: TcpStream,
    form: Form,
    /// Taken from the queue and not yet by the socket.
    unsent: RefCell<Vec<Bytes>>,
    /// Whether the socket takes nothing for the moment.
    full: Cell<bool>,
    broken: Cell<bool>,
}

impl Socket {
    /// Sends what waits, as far as the socket takes it. Tells whether the connection's task must see to the rest;
    /// of a socket that was full before, it knows already.
    pub(super) fn flush(&self, state: &mut State) -> bool {
        if self.full.get() {
            return false;
        }
        let mut unsent = self.unsent.borrow_mut();
        while !self.full.get() && !self.broken.get() {
            if unsent.is_empty() {
                self.take(state, &mut unsent);
            }
            if unsent.is_empty() {
                return false;
            }
            self.write(&mut unsent);
        }
        true
    }

    fn take(&self, state: &mut State, unsent: &mut Vec<Bytes>) {
        let mut bytes = 0;
        while unsent.len() < SLICES && bytes < BURST {
            let Some(frame) = state.pop() else { return };
            bytes += frame.size();
            unsent.push(frame.chunk(self.form));
        }
    }

    fn write(&self, unsent: &mut Vec<Bytes>) {
        let written = match unsent.as_slice() {
            [one] => self.stream.try_write(one),
            many => {
                let slices: Vec<IoSlice<'_>> = many.iter().map(|bytes| IoSlice::new(bytes)).collect();
                self.stream.try_write_vectored(&slices)
            }
        };
        match written {
            Ok(count) => advance(unsent, count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.full.set(true),
            Err(_) => self.broken.set(true),
        }
    }

    fn has_unsent(&self) -> bool {
        !self.unsent.borrow().is_empty()
    }

    /// Whether the client has hung up. What it sends after its request means nothing, and is dropped.
    fn poll_gone(&self, cx: &mut Context<'_>) -> bool {
        let mut dropped = [0; 512];
        while let Poll::Ready(ready) = self.stream.poll_read_ready(cx) {
            match ready.and_then(|()| self.stream.try_read(&mut dropped)) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// Waits until the socket takes bytes again, if it did not.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.full.get() {
            return Poll::Ready(());
        }
        self.stream.poll_write_ready(cx).map(|ready| {
            self.full.set(false);
            self.broken.set(self.broken.get() || ready.is_err());
        })
    }
}

/// Removes what was written.
fn advance(unsent: &mut Vec<Bytes>, mut count: usize) {
    let whole = unsent.iter().take_while(|bytes| {
        let fits = bytes.len() <= count;
        count -= if fits { bytes.len() } else { 0 };
        fits
    });
    let whole = whole.count();
    unsent.drain(..whole);
    if let Some(first) = unsent.first_mut() {
        first.advance(count);
    }
    if unsent.is_empty() {
        *unsent = Vec::new(); // An idle connection keeps no buffer.
    }
}

/// Goes on with a stream on its bare socket; the head of the response and the frames taken so far are out already.
///
/// # Errors
/// When the runtime cannot watch the socket; then the stream comes back.
pub fn take_over(
    stream: ConnectionStream,
    socket: std::net::TcpStream,
    form: Form,
) -> Result<(), ConnectionStream> {
    let Ok(socket) = watched(socket) else { return Err(stream) };
    let socket = Rc::new(Socket {
        stream: socket,
        form,
        unsent: RefCell::default(),
        full: Cell::new(false),
        broken: Cell::new(false),
    });
    stream.connection.state.borrow_mut().socket = Some(Rc::clone(&socket));
    metrics::counter!("snippetbox_streams_handed_over_total").increment(1);
    tokio::task::spawn_local(serve(stream, socket));
    Ok(())
}

fn watched(socket: std::net::TcpStream) -> IoResult<TcpStream> {
    socket.set_nonblocking(true)?;
    TcpStream::from_std(socket)
}

/// Does for one connection what the hub does not: waits for room, reads history, notices that the client has left.
async fn serve(mut stream: ConnectionStream, socket: Rc<Socket>) {
    std::future::poll_fn(|cx| step(&mut stream, &socket, cx)).await;
}

fn step(stream: &mut ConnectionStream, socket: &Socket, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        if socket.poll_gone(cx) || socket.broken.get() {
            return Poll::Ready(());
        }
        if socket.poll_room(cx).is_pending() {
            return Poll::Pending;
        }
        let queued = if socket.has_unsent() { Poll::Ready(true) } else { stream.poll_queued(cx) };
        match queued {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(true) => {}
            Poll::Ready(false) => {
                // The end of the body; a client that cannot take five bytes any more hears it from the socket.
                let _ = socket.stream.try_write(&LAST_CHUNK);
                return Poll::Ready(());
            }
        }
        socket.flush(&mut stream.connection.state.borrow_mut());
    }
}
