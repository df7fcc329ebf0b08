//! What only several keys together can be wrong about, and what is allowed and yet deserves a second look.

use std::net::SocketAddr;

use crate::config::reader::Reader;
use crate::config::{Config, LedgerKind, PageAsks, ReplicaMode, ShipKind, Telemetry};

impl Config {
    /// What only several keys together can be wrong about.
    pub(super) fn check_across(&self, reader: &mut Reader) {
        let sound = |reader: &Reader, keys: [&str; 2]| keys.into_iter().all(|key| reader.is_sound(key));
        if sound(reader, ["server.tcp", "server.uds"]) && self.server.tcp.is_none() && self.server.uds.is_none() {
            reader.problem("server.tcp", "is off and so is server.uds: nobody could ask");
        }
        if sound(reader, ["server.tcp", "server.plaintext"])
            && sound(reader, ["server.tls_cert_file", "server.tls_key_file"])
            && let Some(address) = self.server.tcp.filter(|address| !address.ip().is_loopback())
            && self.server.tls.is_none()
            && !self.server.plaintext
        {
            let how = "set server.tls_cert_file and server.tls_key_file, or server.plaintext to true";
            reader.problem("server.tcp", format!("`{address}` would speak plain text beyond this machine: {how}"));
        }
        if sound(reader, ["admin.tcp", "admin.plaintext"])
            && let Some(address) = self.admin.tcp.filter(|address| !address.ip().is_loopback())
            && !self.admin.plaintext
        {
            let how = "set admin.plaintext to true where metrics may be read";
            reader.problem("admin.tcp", format!("`{address}` would speak plain text beyond this machine: {how}"));
        }
        if sound(reader, ["server.tcp", "admin.tcp"])
            && let (Some(server), Some(admin)) = (self.server.tcp, self.admin.tcp)
            && clash(server, admin)
        {
            reader.problem("admin.tcp", format!("`{admin}` is taken by server.tcp, `{server}`"));
        }
        if sound(reader, ["replica.max_wait", "server.request_timeout"])
            && self.replica.max_wait >= self.server.request_timeout
        {
            reader.problem("replica.max_wait", "must be shorter than server.request_timeout, or no waiting call ends");
        }
        let ship = &self.evidence.ship;
        let nowhere = ship.server.is_none() && self.ledger.kind == LedgerKind::File;
        if sound(reader, ["evidence.ship", "evidence.ship_url"]) && ship.kind == ShipKind::Nats && nowhere {
            reader.problem("evidence.ship_url", "must be set where evidence.ship is `nats` and the ledger is a file");
        }
        if sound(reader, ["replica.load_timeout", "server.request_timeout"])
            && self.replica.mode == ReplicaMode::OnDemand
            && self.replica.load_timeout >= self.server.request_timeout
        {
            reader.problem(
                "replica.load_timeout",
                "must be shorter than server.request_timeout, or no waiting call ends",
            );
        }
        if sound(reader, ["replica.mode", "ledger.kind"])
            && self.replica.mode == ReplicaMode::OnDemand
            && self.ledger.kind == LedgerKind::File
        {
            reader.problem("replica.mode", "`on_demand` needs ledger.kind `nats`: a file can only be read as a whole");
        }
    }

    /// Whether somebody on this machine may ask on the local page.
    ///
    /// Left to itself it opens no door that is not open already: who may ask is then not told apart, and a socket that
    /// every user of this machine may use, or a port of the loopback, is there beside it.
    #[must_use]
    pub fn page_asks(&self) -> bool {
        match self.admin.ask {
            PageAsks::Fixed(asks) => asks,
            PageAsks::Auto => self.callers.is_empty() && self.everybody_here_may_ask(),
        }
    }

    fn everybody_here_may_ask(&self) -> bool {
        let proves_nothing = self.server.tls.as_ref().is_none_or(|tls| tls.client_ca_file.is_none());
        let over_tcp = self.server.tcp.is_some() && proves_nothing;
        over_tcp || self.server.uds.is_some() && self.server.uds_mode & 0o002 != 0
    }

    /// What is allowed and yet deserves a second look.
    pub(in crate::config) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let plain = self.server.tcp.filter(|_| self.server.tls.is_none());
        let listeners = [("server.tcp", plain, "ask"), ("admin.tcp", self.admin.tcp, "read the metrics")];
        for (key, address, what) in listeners {
            if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
                warnings.push(format!(
                    "{key}: `{address}` speaks plain text and lets whoever reaches it from other machines {what}"
                ));
            }
        }
        if let Telemetry { otlp_endpoint: Some(endpoint), otlp_headers_file: Some(_), .. } = &self.telemetry
            && endpoint.starts_with("http://")
            && !is_loopback(endpoint)
        {
            warnings.push(format!("telemetry.otlp_headers_file: its secrets go to `{endpoint}` in plain text"));
        }
        for source in self.ext_authz.iter().flat_map(|mapping| mapping.purpose.of_requests()) {
            warnings.push(format!(
                "ext_authz.purpose: `{source}` stands in the request: unless the proxy sets it, a client chooses what is asked"
            ));
        }
        if self.admin.tcp.is_some() && self.page_asks() && (!self.callers.is_empty() || !self.everybody_here_may_ask())
        {
            warnings.push(
                "admin.ask: whoever reaches the page from this machine may ask about everything, and need not show who they are"
                    .to_owned(),
            );
        }
        if self.server.uds.is_some() && self.server.uds_mode & 0o002 != 0 {
            let mode = self.server.uds_mode;
            warnings.push(format!("server.uds_mode: `{mode:04o}` lets every user of this machine ask"));
        }
        let proves_nothing = self.server.tls.as_ref().is_none_or(|tls| tls.client_ca_file.is_none());
        if let Some(address) = self.server.tcp.filter(|_| proves_nothing && !self.callers.is_empty()) {
            warnings.push(format!(
                "callers: over `{address}` nobody can show who they are, and so nobody may ask; set server.tls_client_ca_file"
            ));
        }
        warnings
    }
}

/// Whether two listeners want the same port of the same address. Port 0 is any free one.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    overlap && one.port() == other.port() && one.port() != 0
}

/// Whether a URL leads to this machine.
fn is_loopback(url: &str) -> bool {
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    address.starts_with("localhost:") || address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}
