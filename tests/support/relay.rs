//! A TCP relay between clients and a server, which can lose the link between them in the ways that networks do.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// It arrives.
    Whole,
    /// It arrives so much later, in both directions; connections stand.
    Slow(Duration),
    /// It waits: connections stand, new ones are taken, and nothing arrives until the link is whole again. A partition,
    /// as both sides see it before they give up.
    Stalled,
    /// Connections are closed, and new ones as soon as they are made.
    Cut,
}

/// A relay. It ends with the test.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    link: Link,
    ended: bool,
    /// Both ends of every connection.
    streams: Vec<TcpStream>,
}

impl Relay {
    /// A relay to a server on the loopback, whole.
    pub(crate) fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = State { link: Link::Whole, ended: false, streams: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.state().ended {
                    return;
                }
                // A server that is down refuses here, and its client is told so by the end of its connection.
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                accepting.join(client, server);
            }
        });
        Self { address, shared }
    }

    /// Where clients connect to.
    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes the link, for connections that stand too.
    pub(crate) fn set(&self, link: Link) {
        let mut state = self.shared.state();
        state.link = link;
        if link == Link::Cut {
            close_all(&mut state);
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        close_all(&mut state);
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries bytes both ways.
    fn join(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let mut state = self.state();
        if state.link == Link::Cut || state.ended {
            return;
        }
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("set");
            state.streams.push(stream.try_clone().expect("a second handle"));
        }
        drop(state);
        let (client_too, server_too) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
        let (up, down) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || up.carry(client, server));
        thread::spawn(move || down.carry(server_too, client_too));
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let link = self.wait_for_link();
            if let Link::Slow(delay) = link {
                thread::sleep(delay);
            }
            if link == Link::Cut || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// The link, once it is not stalled.
    fn wait_for_link(&self) -> Link {
        let mut state = self.state();
        while state.link == Link::Stalled && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended { Link::Cut } else { state.link }
    }
}

fn close_all(state: &mut State) {
    for stream in state.streams.drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
