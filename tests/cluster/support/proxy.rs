//! A way to a server that the test can cut, hold up, and open again.

use std::net::{SocketAddr, TcpListener as Listener};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// What was connected has ended, and nobody can connect.
    Cut,
    /// Everybody is connected, and nothing passes.
    HeldUp,
}

#[derive(Debug, Clone, Copy)]
struct State {
    way: Way,
    /// How often all connections were lost.
    losses: u32,
    /// Whose commits do not pass: those of transactions that ask for this.
    withheld: Option<Uuid>,
}

pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Proxy {
    /// A way to the server at `target`, on a thread of its own: the test's may wait for a node that uses it.
    pub fn to(target: String) -> Self {
        let listener = Listener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        listener.set_nonblocking(true).expect("it does not block");
        let (state, watched) = watch::channel(State { way: Way::Open, losses: 0, withheld: None });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        std::thread::spawn(move || runtime.block_on(serve(listener, &target, watched)));
        Self { address, state }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends what is connected, and lets nobody connect.
    pub fn cut(&self) {
        self.go(Way::Cut);
    }

    /// Lets nothing pass, and says so to nobody.
    pub fn hold_up(&self) {
        self.go(Way::HeldUp);
    }

    pub fn mend(&self) {
        self.go(Way::Open);
    }

    /// Lets nothing pass any more on what is connected, and says so to nobody; others can connect.
    pub fn lose(&self) {
        self.state.send_modify(|state| {
            state.losses += 1;
            state.withheld = None;
        });
    }

    /// Lets nothing pass from the commit on where a transaction asks for this, up to the next loss.
    pub fn withhold_commits(&self, of: Uuid) {
        self.state.send_modify(|state| state.withheld = Some(of));
    }

    fn go(&self, way: Way) {
        self.state.send_modify(|state| state.way = way);
    }
}

/// Serves until the proxy is dropped.
async fn serve(listener: Listener, target: &str, mut state: watch::Receiver<State>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                if state.borrow().way != Way::Cut {
                    tokio::spawn(pass(client, target.to_owned(), state.clone()));
                }
            }
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

async fn pass(client: TcpStream, target: String, mut state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    for socket in [&client, &server] {
        drop(socket.set_nodelay(true)); // It may be gone.
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        _ = copy(from_client, to_server, state.clone()) => {}
        _ = copy(from_server, to_client, state.clone()) => {}
        _ = state.wait_for(|state| state.way == Way::Cut) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) -> Option<()> {
    let losses = state.borrow().losses;
    let (mut buffer, mut is_asked_for) = (vec![0; 16 * 1024], false);
    loop {
        let count = from.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        let holds = |bytes: &[u8]| buffer[..count].windows(bytes.len()).any(|window| window == bytes);
        let withheld = state.borrow().withheld;
        is_asked_for |= withheld.is_some_and(|id| holds(id.as_bytes()));
        if is_asked_for && holds(b"COMMIT") {
            return std::future::pending().await;
        }
        state.wait_for(|state| state.way != Way::HeldUp && state.losses == losses).await.ok()?;
        to.write_all(&buffer[..count]).await.ok()?;
    }
}
