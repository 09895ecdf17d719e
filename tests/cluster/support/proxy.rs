//! A way to a server that the test can cut and open again.

use std::net::{SocketAddr, TcpListener as Listener};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Proxy {
    /// A way to the server at `target`, on a thread of its own: the test's may wait for a node that uses it.
    pub fn to(target: String) -> Self {
        let listener = Listener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        listener.set_nonblocking(true).expect("it does not block");
        let (open, watched) = watch::channel(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        std::thread::spawn(move || runtime.block_on(serve(listener, &target, watched)));
        Self { address, open }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends what is connected, and lets nobody connect.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

/// Serves until the proxy is dropped.
async fn serve(listener: Listener, target: &str, mut open: watch::Receiver<bool>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                if *open.borrow() {
                    tokio::spawn(pass(client, target.to_owned(), open.clone()));
                }
            }
            changed = open.changed() => if changed.is_err() { return },
        }
    }
}

async fn pass(mut client: TcpStream, target: String, mut open: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    for socket in [&client, &server] {
        drop(socket.set_nodelay(true)); // It may be gone.
    }
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
