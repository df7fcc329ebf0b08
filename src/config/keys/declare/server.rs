//! How questions come in: listeners, TLS, limits, AuthZEN, the local page.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::{PATH_BYTES_MAX, UDS_PATH_BYTES_MAX};
use crate::config::keys::{self, Admin, Authzen, PageAsks, Server, WORKERS_MAX, Workers};
use crate::config::reader::{AUTO, Reader, boolean, number, quote, text};
use crate::config::schema::Shape;
use crate::config::sources::Raw;
use crate::transport::{Tls, TlsVersion};

impl Server {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            tcp: reader.address_or_off(
                "server.tcp",
                "Where questions are answered over TCP.",
                Some(keys::DEFAULT_SERVER_TCP),
            ),
            tls: tls(reader),
            plaintext: reader.switch(
                "server.plaintext",
                "Whether plain text may be spoken over TCP beyond this machine.",
                false,
            ),
            uds: reader.path_or_off(
                "server.uds",
                "The Unix socket on which questions are answered.",
                UDS_PATH_BYTES_MAX,
                None,
            ),
            uds_mode: reader.value(
                "server.uds_mode",
                "Who may use the Unix socket, as a file mode.",
                ("an octal mode, \"0600\" to \"0777\"", Shape::Pattern("0?[67][0-7][0-7]")),
                keys::DEFAULT_SERVER_UDS_MODE,
                parse_mode,
                |mode| quote(&format!("{mode:04o}")),
            ),
            max_message_bytes: reader.size(
                "server.max_message_bytes",
                "The largest message that is taken.",
                keys::DEFAULT_MAX_MESSAGE_BYTES,
                64 << 10..=64 << 20,
            ),
            max_batch: reader.count(
                "server.max_batch",
                "The most questions in one batch.",
                keys::DEFAULT_MAX_BATCH,
                1..=keys::DEFAULT_MAX_BATCH,
            ),
            max_concurrent_streams: reader.count(
                "server.max_concurrent_streams",
                "The most calls at once on one connection; fewer where memory is limited, and callers are told.",
                keys::DEFAULT_MAX_CONCURRENT_STREAMS,
                1..=65_536,
            ),
            max_connections: reader.count(
                "server.max_connections",
                "The most connections at once.",
                keys::DEFAULT_MAX_CONNECTIONS,
                1..=1_000_000,
            ),
            max_in_flight: reader.count(
                "server.max_in_flight",
                "The most calls at once over all connections; more wait for their turn, as long as their deadline.",
                keys::DEFAULT_MAX_IN_FLIGHT,
                1..=1_000_000,
            ),
            request_timeout: reader.duration(
                "server.request_timeout",
                "The longest that one call may take, whatever deadline its caller set.",
                keys::DEFAULT_REQUEST_TIMEOUT,
                Duration::from_millis(10)..=Duration::from_mins(5),
            ),
            drain_delay: reader.duration(
                "server.drain_delay",
                "How long new connections are taken and answered after the sidecar was told to stop and is not ready any more.",
                keys::DEFAULT_DRAIN_DELAY,
                Duration::ZERO..=Duration::from_hours(1),
            ),
            drain_timeout: reader.duration(
                "server.drain_timeout",
                "How long calls in flight may take to finish when the sidecar stops.",
                keys::DEFAULT_DRAIN_TIMEOUT,
                Duration::ZERO..=Duration::from_hours(1),
            ),
            max_connection_age: reader.duration_or_off(
                "server.max_connection_age",
                "The age at which a connection is ended, give or take a tenth; its caller comes back.",
                Some(keys::DEFAULT_MAX_CONNECTION_AGE),
                Duration::from_secs(1)..=Duration::from_hours(30 * 24),
            ),
            max_connection_age_grace: reader.duration(
                "server.max_connection_age_grace",
                "How long what is in flight may take when a connection is ended by its age.",
                keys::DEFAULT_MAX_CONNECTION_AGE_GRACE,
                Duration::ZERO..=Duration::from_hours(24),
            ),
            workers: reader.value(
                "server.workers",
                "How many threads answer; \"auto\" is half of the processors that the process may use.",
                (&format!("\"auto\", or 1 to {WORKERS_MAX}"), Shape::Either(vec![Shape::Words(vec![AUTO]), Shape::Whole { least: 1, most: WORKERS_MAX }])),
                Workers::Auto,
                parse_workers,
                |workers| match workers {
                    Workers::Auto => quote(AUTO),
                    Workers::Fixed(count) => count.to_string(),
                },
            ),
        }
    }
}

impl Authzen {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let authzen = Self {
            enabled: reader.switch(
                "authzen.enabled",
                "Whether questions are answered that come as AuthZEN, over HTTP, on the same listeners.",
                false,
            ),
            url: reader.url_or_off(
                "authzen.url",
                "Where AuthZEN's clients reach the sidecar; without it there is no metadata for them to discover.",
            ),
            resource_type: reader.value(
                "authzen.resource_type",
                "The type of the resources whose id is a purpose; about others the answer is no.",
                ("1 to 64 characters", Shape::Pattern(".{1,64}")),
                keys::DEFAULT_AUTHZEN_RESOURCE_TYPE.to_owned(),
                parse_resource_type,
                |text| quote(text),
            ),
        };
        if authzen.url.is_some() && !authzen.enabled && reader.is_sound("authzen.enabled") {
            reader.problem("authzen.url", "is of no use where authzen.enabled is false");
        }
        authzen
    }
}

impl Admin {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let meaning = "Where metrics and readiness are shown, over plain HTTP.";
        Self {
            tcp: reader.address_or_off("admin.tcp", meaning, Some(keys::DEFAULT_ADMIN_TCP)),
            plaintext: reader.switch(
                "admin.plaintext",
                "Whether they may be shown beyond this machine, which is always in plain text.",
                false,
            ),
            ask: reader.value(
                "admin.ask",
                "Whether somebody on this machine may ask and explain there; \"auto\" is where anybody on it may ask anyway.",
                ("\"auto\", true or false", Shape::Either(vec![Shape::Words(vec![AUTO]), Shape::Truth])),
                PageAsks::Auto,
                parse_page_asks,
                |asks| match asks {
                    PageAsks::Auto => quote(AUTO),
                    PageAsks::Fixed(is) => is.to_string(),
                },
            ),
        }
    }
}

/// The files, where a certificate and its key are named.
fn tls(reader: &mut Reader) -> Option<Tls> {
    let [cert, key, client_ca] = ["server.tls_cert_file", "server.tls_key_file", "server.tls_client_ca_file"];
    let cert_file = reader.path_or_off(
        cert,
        "Our certificate and those above it, in PEM; with it TLS is spoken over TCP.",
        PATH_BYTES_MAX,
        None,
    );
    let key_file = reader.path_or_off(key, "The key of that certificate, in PEM.", PATH_BYTES_MAX, None);
    let client_ca_file = reader.path_or_off(
        client_ca,
        "The authorities of callers, in PEM; with it whoever has no certificate of theirs is refused.",
        PATH_BYTES_MAX,
        None,
    );
    let min_version = reader.choice(
        "server.tls_min_version",
        "The oldest version of TLS that is spoken.",
        TlsVersion::V13,
        &[("1.3", TlsVersion::V13), ("1.2", TlsVersion::V12)],
    );
    let named = [(cert, cert_file.is_some()), (key, key_file.is_some()), (client_ca, client_ca_file.is_some())];
    for (missing, is_set) in named.into_iter().take(2) {
        let other = named.into_iter().find(|(_, is_set)| *is_set);
        if let (false, true, Some((other, _))) = (is_set, reader.is_sound(missing), other) {
            reader.problem(missing, format!("must be set where {other} is"));
        }
    }
    Some(Tls { cert_file: cert_file?, key_file: key_file?, client_ca_file, min_version })
}

fn parse_resource_type(raw: &Raw) -> Result<String, String> {
    let text = text(raw)?;
    if (1..=64).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err("is not 1 to 64 bytes without control characters".to_owned())
}

fn parse_mode(raw: &Raw) -> Result<u32, String> {
    let text = text(raw)?;
    let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let mode = digits.then(|| u32::from_str_radix(text, 8).ok()).flatten();
    mode.filter(|mode| (0o600..=0o777).contains(mode))
        .ok_or_else(|| format!("`{text}` is not an octal mode such as `0660`, which lets at least the owner in"))
}

fn parse_page_asks(raw: &Raw) -> Result<PageAsks, String> {
    if *raw == Raw::Text(AUTO.to_owned()) {
        return Ok(PageAsks::Auto);
    }
    boolean(raw).map(PageAsks::Fixed).map_err(|what| format!("{what}, nor `auto`"))
}

fn parse_workers(raw: &Raw) -> Result<Workers, String> {
    if *raw == Raw::Text(AUTO.to_owned()) {
        return Ok(Workers::Auto);
    }
    let count = number(raw).map_err(|what| format!("{what}, nor `auto`"))?;
    let fixed = NonZeroUsize::new(count).filter(|count| count.get() <= WORKERS_MAX);
    fixed.map(Workers::Fixed).ok_or_else(|| format!("`{count}` is outside 1 to {WORKERS_MAX}"))
}
