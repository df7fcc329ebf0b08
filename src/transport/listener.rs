//! Where connections come in.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket, UnixStream};

use super::ListenError;
use super::stream::Carrier;

/// Connections that wait in the kernel to be accepted: all callers that come back at once after a restart. Linux takes
/// the lesser of this and `net.core.somaxconn`, 4096.
const BACKLOG: u32 = 4096;

/// A listener of either kind.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Uds(UnixListener),
}

impl Listener {
    /// The next connection.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(super) async fn accept(&self) -> io::Result<Carrier> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and wait for nothing. Where it fails the other side has gone, as is soon found out.
                let _ = stream.set_nodelay(true);
                Ok(Carrier::Tcp(stream))
            }
            Self::Uds(listener) => Ok(Carrier::Uds(listener.accept().await?.0)),
        }
    }
}

/// Listens on a TCP address.
///
/// # Errors
/// If that cannot be.
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listening = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port whose old connections are still winding down can be listened on.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listening().map_err(|source| ListenError { address: address.to_string(), source })
}

/// Listens on a Unix socket with this file mode. A socket file that nobody listens on any more is replaced.
///
/// # Errors
/// If somebody listens on it, if something else than a socket is there, or it cannot be made.
pub(super) async fn listen_uds(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is there"));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it"));
        }
        Ok(_) => std::fs::remove_file(path)?,
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    // Before it listens: nobody comes in by a mode that was not asked for.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)
}
