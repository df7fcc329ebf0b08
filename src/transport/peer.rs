//! What a connection, or a proxy in front of it, proves about who is at its other end.

use tokio::net::UnixStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::codegen::http::{HeaderMap, HeaderValue};
use webpki::EndEntityCert;

use crate::access::{Admitted, Caller, Policy, Proof, SpiffeId};

/// The header in which a proxy says whose request it passes on. Source: Envoy, "x-forwarded-client-cert".
pub(super) const FORWARDED: &str = "x-forwarded-client-cert";

/// Whose the requests of a connection are.
#[derive(Debug, Clone)]
pub(super) enum Asker {
    /// Those of nobody who may ask.
    Nobody,
    /// Those of one.
    One(Caller),
    /// Those of whom a proxy names, or its own.
    Forwarded { proxy: Caller, policy: Policy },
}

impl Asker {
    /// Whose requests come from somebody who proves this, or nothing that could be believed.
    pub(super) fn new(policy: &Policy, proof: Option<&Proof>) -> Self {
        match proof.and_then(|proof| policy.admit(proof)) {
            None => Self::Nobody,
            Some(Admitted { caller, forwards: false }) => Self::One(caller),
            Some(Admitted { caller, forwards: true }) => Self::Forwarded { proxy: caller, policy: policy.clone() },
        }
    }

    /// Whose this request is.
    pub(super) fn of(&self, headers: &HeaderMap) -> Option<Caller> {
        match self {
            Self::Nobody => None,
            Self::One(caller) => Some(caller.clone()),
            Self::Forwarded { proxy, policy } => match headers.get_all(FORWARDED).iter().next_back() {
                None => Some(proxy.clone()),
                Some(value) => forwarded(value).and_then(|id| policy.admit(&Proof::Spiffe(id))).map(|it| it.caller),
            },
        }
    }
}

/// The user of this machine that opened a connection.
pub(super) fn of_socket(stream: &UnixStream) -> Option<Proof> {
    stream.peer_cred().ok().map(|peer| Proof::Uid(peer.uid()))
}

/// The workload whose certificate was verified. One without a name of the kind proves nothing, and is believed for what
/// its authority is; with a name that is not one SPIFFE id it is not believed at all.
///
/// Source: X509-SVID, 2: exactly one URI.
pub(super) fn of_certificates(chain: Option<&[CertificateDer<'_>]>) -> Option<Proof> {
    let Some(leaf) = chain.and_then(<[_]>::first) else { return Some(Proof::Nothing) };
    let leaf = EndEntityCert::try_from(leaf).ok()?;
    let mut uris = leaf.valid_uri_names();
    match (uris.next(), uris.next()) {
        (None, _) => Some(Proof::Nothing),
        (Some(only), None) => only.parse().ok().map(Proof::Spiffe),
        (Some(_), Some(_)) => None,
    }
}

/// The one id that the last element names: the last is what the proxy itself has seen, those before it are what it was told.
fn forwarded(value: &HeaderValue) -> Option<SpiffeId> {
    let value = value.to_str().ok()?;
    let last = parts(value, ',')?.pop()?;
    let mut uris = parts(last, ';')?.into_iter().filter_map(|pair| {
        let (key, uri) = pair.trim().split_once('=')?;
        key.eq_ignore_ascii_case("uri").then_some(uri)
    });
    let (uri, None) = (uris.next()?, uris.next()) else { return None };
    let unquoted = uri.strip_prefix('"').and_then(|uri| uri.strip_suffix('"'));
    unquoted.unwrap_or(uri).parse().ok()
}

/// The parts between separators that do not stand in quotes; `None` where a quote is not closed.
fn parts(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    });
    let parts = parts.collect();
    (!quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;
    use crate::access::Rule;

    fn certificate(uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
        let uri = |uri: &&str| SanType::URI((*uri).try_into().expect("ASCII"));
        params.subject_alt_names.extend(uris.iter().map(uri));
        params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").der().clone()
    }

    #[test]
    fn a_certificate_names_one_workload_or_is_not_believed() {
        let proof = |uris: &[&str]| of_certificates(Some(&[certificate(uris)]));
        assert_eq!(proof(&[]), Some(Proof::Nothing));
        let id = "spiffe://example.org/a";
        assert_eq!(proof(&[id]), Some(Proof::Spiffe(id.parse().expect("an id"))));
        for wrong in
            [&[id, id][..], &[id, "https://example.org"], &["https://example.org"], &["spiffe://example.org//"]]
        {
            assert_eq!(proof(wrong), None, "{wrong:?}");
        }
        assert_eq!(of_certificates(None), Some(Proof::Nothing));
        assert_eq!(of_certificates(Some(&[CertificateDer::from(vec![0x30, 0])])), None);
    }

    fn gateway() -> Asker {
        let rule = |name: &str, forwards| Rule {
            name: name.to_owned(),
            spiffe: format!("spiffe://example.org/{name}").parse().ok(),
            uid: None,
            purposes: Vec::new(),
            channels: Vec::new(),
            forwards,
        };
        let policy = Policy::new(&[rule("gateway", true), rule("mailer", false)]);
        let proof = Proof::Spiffe("spiffe://example.org/gateway".parse().expect("an id"));
        Asker::new(&policy, Some(&proof))
    }

    fn asks(asker: &Asker, values: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED, HeaderValue::from_static(value));
        }
        asker.of(&headers).map(|caller| caller.name().to_owned())
    }

    #[test]
    fn a_proxy_asks_for_whom_it_has_seen_itself() {
        let gateway = gateway();
        assert_eq!(asks(&gateway, &[]).as_deref(), Some("gateway"));
        for value in [
            "URI=spiffe://example.org/mailer",
            "By=spiffe://example.org/gateway;Hash=00;Subject=\"CN=a,O=\\\"b;c\\\"\";URI=spiffe://example.org/mailer",
            "uri=\"spiffe://example.org/mailer\"",
            "URI=spiffe://example.org/other,Hash=1;URI=spiffe://example.org/mailer",
        ] {
            assert_eq!(asks(&gateway, &[value]).as_deref(), Some("mailer"), "{value}");
        }
        assert_eq!(
            asks(&gateway, &["URI=spiffe://example.org/other", "URI=spiffe://example.org/mailer"]).as_deref(),
            Some("mailer")
        );
        for value in [
            "",
            "URI=",
            "Hash=00",
            "URI=spiffe://example.org/other",
            "URI=spiffe://example.org/mailer,Hash=1",
            "URI=spiffe://example.org/mailer,",
            "URI=spiffe://example.org/mailer;URI=spiffe://example.org/mailer",
            "Subject=\"CN=;URI=spiffe://example.org/mailer",
            "Subject=\",URI=spiffe://example.org/mailer\"",
            "By=spiffe://example.org/mailer",
            "URI=spiffe://example.org/mailer/../gateway",
        ] {
            assert_eq!(asks(&gateway, &[value]), None, "{value}");
        }
        // What is forwarded is not forwarded again.
        assert_eq!(asks(&gateway, &["URI=spiffe://example.org/gateway"]).as_deref(), Some("gateway"));
    }

    #[test]
    fn nobody_else_says_for_whom_they_ask() {
        let policy = Policy::anybody();
        let asker = Asker::new(&policy, Some(&Proof::Uid(1)));
        assert_eq!(asks(&asker, &["URI=spiffe://example.org/mailer"]).as_deref(), Some("uid:1"));
        let unbelieved = Asker::new(&policy, None);
        assert_eq!(asks(&unbelieved, &["URI=spiffe://example.org/mailer"]), None);
    }
}
