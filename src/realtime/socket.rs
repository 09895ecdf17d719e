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
use socket2::SockRef;
use tokio::net::TcpStream;

use super::{
    connection::Connection, frame::Form, hub::Hub, queue::Waiting, run::Joined, stream::ConnectionStream,
};

/// How many frames are sent in one system call at most.
const SLICES: usize = 64;
/// How many bytes are sent in one system call (or one frame): what the kernel holds before it asks to wait.
const BURST: usize = 16 * 1024;
/// The chunk that ends a body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A client's socket.
pub(super) struct Socket {
    stream: TcpStream,
    pub(super) form: Form,
    /// The rest of a frame of which the socket has taken the beginning.
    rest: RefCell<Bytes>,
    /// Whether the socket takes nothing for the moment.
    full: Cell<bool>,
    broken: Cell<bool>,
}

/// A frame that is about to be sent: what it came from, how much of the queue it took, and its bytes.
pub(super) type Sending = (Waiting, usize, Bytes);

impl Socket {
    /// Sends what waits, as far as the socket takes it. Tells whether the connection's task must see to the rest;
    /// of a socket that was full before, it knows already.
    pub(super) fn flush(&self, hub: &Hub, connection: &Connection) -> bool {
        if self.full.get() {
            return false;
        }
        let mut sending = std::mem::take(&mut hub.state.borrow_mut().sending);
        let left = loop {
            self.take(hub, connection, &mut sending);
            if sending.is_empty() && self.rest.borrow().is_empty() {
                break false;
            }
            let written = self.write(&sending);
            self.settle(connection, &mut sending, written);
            if self.full.get() || self.broken.get() {
                break true;
            }
        };
        hub.state.borrow_mut().sending = sending;
        left
    }

    /// Whether bytes can be sent at once.
    pub(super) fn is_free(&self) -> bool {
        !self.full.get() && !self.has_rest()
    }

    pub(super) fn has_rest(&self) -> bool {
        !self.rest.borrow().is_empty()
    }

    /// Sends frames at once on a socket that is free; answers with how many are off, the last of them perhaps in part:
    /// its rest goes out before all others.
    ///
    /// This asks the kernel without a look at what the runtime knows of the socket. Where the kernel takes less than
    /// all, [`flush`](Self::flush) comes next and finds that out in the way that the runtime hears of.
    pub(super) fn send(&self, Joined { bytes, ends }: &Joined) -> usize {
        let written = SockRef::from(&self.stream).send(bytes).unwrap_or(0);
        if written == bytes.len() {
            return ends.len();
        }
        let whole = ends.partition_point(|end| *end <= written);
        let begun = whole.checked_sub(1).map_or(0, |last| ends[last]) < written;
        if begun {
            let rest = bytes.slice(written..ends[whole]);
            // A part would keep all of them, for as long as the client takes nothing.
            *self.rest.borrow_mut() = if ends.len() > 1 { Bytes::copy_from_slice(&rest) } else { rest };
        }
        whole + usize::from(begun)
    }

    fn take(&self, hub: &Hub, connection: &Connection, sending: &mut Vec<Sending>) {
        let mut bytes = 0;
        while sending.len() < SLICES && bytes < BURST {
            let Some((waiting, size, frame)) = hub.next(connection) else { break };
            bytes += size;
            sending.push((waiting, size, frame.chunk(self.form)));
        }
    }

    fn write(&self, sending: &[Sending]) -> usize {
        let rest = self.rest.borrow();
        let written = match (rest.is_empty(), sending) {
            (true, [(_, _, one)]) => self.stream.try_write(one),
            (_, many) => {
                let all = std::iter::once(&*rest).chain(many.iter().map(|(_, _, bytes)| bytes));
                let slices: Vec<IoSlice<'_>> = all.map(|bytes| IoSlice::new(bytes)).collect();
                self.stream.try_write_vectored(&slices)
            }
        };
        match written {
            Ok(count) => return count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.full.set(true),
            Err(_) => self.broken.set(true),
        }
        0
    }

    /// Keeps the rest of the frame that was begun, and puts the others back: they may still be taken away.
    fn settle(&self, connection: &Connection, sending: &mut Vec<Sending>, mut written: usize) {
        let mut rest = self.rest.borrow_mut();
        let of_rest = written.min(rest.len());
        rest.advance(of_rest);
        written -= of_rest;
        let mut state = connection.state.borrow_mut();
        let mut unsent = Vec::new();
        for (waiting, size, mut bytes) in sending.drain(..) {
            if written == 0 {
                unsent.push((waiting, size));
                continue;
            }
            let of_this = written.min(bytes.len());
            bytes.advance(of_this);
            written -= of_this;
            *rest = bytes;
            if let Waiting::Durable(event, _) = waiting {
                state.taken = event.seq;
            }
        }
        for (waiting, size) in unsent.into_iter().rev() {
            state.queue.put_back(waiting, size);
        }
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
    let (full, broken) = (Cell::new(false), Cell::new(false));
    let socket = Rc::new(Socket { stream: socket, form, rest: RefCell::default(), full, broken });
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
        if socket.rest.borrow().is_empty() {
            match stream.poll_queued(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    // The end of the body; a client that cannot take five bytes any more sees the socket close.
                    let _ = socket.stream.try_write(LAST_CHUNK);
                    return Poll::Ready(());
                }
            }
        }
        socket.flush(&stream.hub, &stream.connection);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        io::Read as _,
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    use super::{Socket, watched};
    use crate::{
        clock::Clock,
        realtime::{
            frame::{Form, Frame},
            run::Forms,
        },
    };

    #[tokio::test]
    async fn of_frames_that_are_sent_in_part_the_rest_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (stream, form) = (watched(listener.accept().unwrap().0).unwrap(), Form::EventStream);
        let (rest, full, broken) = (RefCell::default(), Cell::new(false), Cell::new(false));
        let socket = Socket { stream, form, rest, full, broken };
        let text = serde_json::json!("a".repeat(30_001));
        let frames = vec![Frame::notice("k", Clock::system().now(), &text, None); 1_000];
        let forms = Forms::default();
        let joined = forms.get(form, frames.iter());
        let sent = socket.send(joined);
        assert!((1..1_000).contains(&sent), "{sent}");
        let rest = socket.rest.take();
        let mut taken = vec![0; joined.ends[sent - 1] - rest.len()];
        client.read_exact(&mut taken).unwrap();
        assert!(joined.bytes.starts_with(&[&taken[..], &rest].concat()));
        drop(socket);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "more was sent");
    }
}
