//! The limit that figures are set against: a loop that sends to bare sockets, with no HTTP worth the name.
//!
//! `GET` opens a stream, `POST` sends its body to all of them. Two threads, each with its own listener, connections
//! and epoll; what has come in since the last round is joined into one send for each connection.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use mio::{
    Events, Interest, Poll, Token, Waker,
    net::{TcpListener, TcpStream},
};

use super::support::Result;

const THREADS: usize = 2;
const LISTENER: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);
const OPENED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: ready\n\n";
const ACCEPTED: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// What the other threads have for one.
struct Inbox {
    frames: Mutex<Vec<Arc<[u8]>>>,
    waker: Waker,
}

struct Connection {
    stream: TcpStream,
    follows: bool,
}

/// Serves until the process is killed.
pub fn run() -> Result<()> {
    let mut polls = Vec::new();
    let mut inboxes = Vec::new();
    for _ in 0..THREADS {
        let poll = Poll::new()?;
        inboxes.push(Inbox { frames: Mutex::default(), waker: Waker::new(poll.registry(), WAKER)? });
        polls.push(poll);
    }
    let first = listen((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..THREADS {
        listeners.push(listen(address)?);
    }
    println!("The loop listens on http://{address} and waits");
    let inboxes = Arc::new(inboxes);
    let threads: Vec<_> = polls
        .into_iter()
        .zip(listeners)
        .enumerate()
        .map(|(number, (poll, listener))| {
            let inboxes = Arc::clone(&inboxes);
            std::thread::spawn(move || serve(number, poll, listener, &inboxes))
        })
        .collect();
    threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread has panicked")?)
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(4_096)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn serve(number: usize, mut poll: Poll, mut listener: TcpListener, inboxes: &[Inbox]) -> Result<()> {
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let (mut events, mut buffer) = (Events::with_capacity(512), vec![0; 64 * 1024]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => accept(&poll, &listener, &mut connections)?,
                WAKER => {}
                Token(place) => {
                    let Some(connection) = &mut connections[place] else { continue };
                    if !hear(connection, &mut buffer, number, inboxes)? {
                        connections[place] = None;
                    }
                }
            }
        }
        let frames = std::mem::take(&mut *lock(&inboxes[number].frames));
        if frames.is_empty() {
            continue;
        }
        let joined = frames.concat();
        for connection in connections.iter_mut().flatten().filter(|connection| connection.follows) {
            // What does not fit is lost, and the client counts it as such.
            let _ = connection.stream.write(&joined);
        }
    }
}

fn accept(poll: &Poll, listener: &TcpListener, connections: &mut Vec<Option<Connection>>) -> Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, Token(connections.len()), Interest::READABLE)?;
        connections.push(Some(Connection { stream, follows: false }));
    }
}

/// Reads what a client has sent; false when it has gone.
fn hear(connection: &mut Connection, buffer: &mut [u8], number: usize, inboxes: &[Inbox]) -> Result<bool> {
    let read = match connection.stream.read(buffer) {
        Ok(0) => return Ok(false),
        Ok(read) => read,
        Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
    };
    let request = &buffer[..read];
    if request.starts_with(b"GET") {
        connection.follows = true;
        return Ok(connection.stream.write(OPENED).is_ok());
    }
    let head = request.windows(4).position(|window| window == b"\r\n\r\n");
    let frame: Arc<[u8]> = request[head.map_or(read, |end| end + 4)..].into();
    for (other, inbox) in inboxes.iter().enumerate() {
        lock(&inbox.frames).push(Arc::clone(&frame));
        if other != number {
            inbox.waker.wake()?;
        }
    }
    Ok(connection.stream.write(ACCEPTED).is_ok())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
