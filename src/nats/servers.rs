//! The addresses of servers, as an operator writes them.

use std::fmt;
use std::str::FromStr;

use async_nats::ServerAddr;

/// One or more servers of one NATS system: `nats://a:4222,nats://b:4222`, or `tls://` for all of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Servers {
    /// INVARIANT: not empty, one scheme, no user and no password.
    addresses: Vec<ServerAddr>,
}

/// Why a text does not name servers. It never repeats a text that may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServersError {
    /// There is none.
    #[error("no server is named; write `nats://host:4222`, several with commas between them")]
    Empty,
    /// One of them is no address.
    #[error("`{0}` is not the address of a server; write `nats://host:4222` or `tls://host:4222`")]
    Malformed(String),
    /// One of them holds a user or a password.
    #[error(
        "the address of `{0}` holds a user or a password, which would end up in logs and lists of processes; put them \
         as `user:password` into a file and name the file as the credentials"
    )]
    Secret(String),
    /// One is `nats://`, another `tls://`.
    #[error("`nats://` and `tls://` are mixed; write `tls://` for every server")]
    Mixed,
}

impl Servers {
    /// Whether they are `tls://`.
    #[must_use]
    pub fn are_tls(&self) -> bool {
        self.addresses.iter().any(ServerAddr::tls_required)
    }

    pub(super) fn addresses(&self) -> &[ServerAddr] {
        &self.addresses
    }
}

impl FromStr for Servers {
    type Err = ServersError;

    fn from_str(text: &str) -> Result<Self, ServersError> {
        let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        let addresses = texts.map(address).collect::<Result<Vec<_>, _>>()?;
        let schemes = addresses.iter().map(ServerAddr::scheme);
        if addresses.is_empty() {
            return Err(ServersError::Empty);
        }
        let tls = schemes.filter(|scheme| *scheme == "tls").count();
        if tls != 0 && tls != addresses.len() {
            return Err(ServersError::Mixed);
        }
        Ok(Self { addresses })
    }
}

fn address(text: &str) -> Result<ServerAddr, ServersError> {
    // What stands before an `@` may be a password, also where the rest is malformed.
    let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
    if shown != text {
        return Err(ServersError::Secret(shown.to_owned()));
    }
    let malformed = || ServersError::Malformed(text.to_owned());
    let address: ServerAddr = text.parse().map_err(|_| malformed())?;
    let known = matches!(address.scheme(), "nats" | "tls") && !address.host().is_empty();
    let bare = matches!(address.clone().into_inner().path(), "" | "/");
    // In one form only, the port written out, so that equal addresses are equal.
    if known && bare { shown_address(&address).parse().map_err(|_| malformed()) } else { Err(malformed()) }
}

fn shown_address(address: &ServerAddr) -> String {
    let host = address.host();
    let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
    format!("{}://{open}{host}{close}:{}", address.scheme(), address.port())
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", shown_address(address))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Servers({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for (text, shown) in [
            ("nats://localhost:4222", "nats://localhost:4222"),
            ("nats://a", "nats://a:4222"),
            ("tls://a:1, tls://[::1]:2", "tls://a:1,tls://[::1]:2"),
            ("10.0.0.1:4333", "nats://10.0.0.1:4333"),
        ] {
            let servers: Servers = text.parse().expect(text);
            assert_eq!(servers.to_string(), shown);
            assert_eq!(shown.parse(), Ok(servers));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!(" , ".parse::<Servers>(), Err(ServersError::Empty));
        for text in ["ws://a", "http://a", "nats://", "nats://a/consent", "nats://a:99999"] {
            assert_eq!(text.parse::<Servers>(), Err(ServersError::Malformed(text.to_owned())), "{text}");
        }
        assert_eq!("nats://a,tls://b".parse::<Servers>(), Err(ServersError::Mixed));
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for text in
            ["nats://ayse:hunter2@a:4222", "nats://hunter2@a:4222", "ayse:hunter2@a b", "tls://x:hunter2@b@a:4222"]
        {
            let error = text.parse::<Servers>().expect_err("refused");
            let told = format!("{error} {error:?}");
            assert!(matches!(error, ServersError::Secret(_)) && !told.contains("hunter2"), "{told}");
        }
    }
}
