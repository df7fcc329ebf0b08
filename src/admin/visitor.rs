//! Who may ask on the page: somebody on this machine, by a page that came from here.
//!
//! An address of the loopback at both ends says that the connection was made on this machine, as `kubectl port-forward`
//! makes it too. A proxy that passes requests on from elsewhere makes such connections as well: a mesh's own connects to the
//! address of the pod, so that our end is not of the loopback, and others say what they are in a header.
//!
//! A browser on this machine does what pages from elsewhere tell it. One that has its own name lead here (DNS rebinding) is
//! given away by `Host`, one that sends a request across (CSRF) by `Origin`, and neither can be set by a page.

use std::net::IpAddr;

use axum::extract::rejection::ExtensionRejection;
use axum::extract::{Extension, FromRequestParts};
use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

use super::listener::Ends;

/// Headers that proxies add.
const OF_PROXIES: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];
/// Where a request of a browser came from, in its own words. Source: W3C, Fetch Metadata Request Headers.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why somebody may not ask. Holds nothing that came with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    /// The connection comes from another machine, or through a proxy.
    #[error("only somebody on this machine may ask here; in Kubernetes use `kubectl port-forward`")]
    Elsewhere,
    /// The request is for another name than one of this machine.
    #[error("the header `Host` must be there once and name this machine, such as `localhost` or `127.0.0.1`")]
    OtherHost,
    /// The page that asks came from somewhere else.
    #[error("the header `Origin` must be that of this page")]
    OtherOrigin,
}

/// Who makes a request, as far as that can be told.
#[derive(Debug)]
pub(super) struct Visitor {
    ends: Ends,
    uri: Uri,
    headers: HeaderMap,
}

impl Visitor {
    /// What is asked for.
    pub(super) const fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether a request was made on this machine, for this machine.
    pub(super) fn is_here(&self) -> Result<(), Stranger> {
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        let is_passed_on = OF_PROXIES.iter().any(|name| self.headers.contains_key(*name));
        if !is_loopback(self.ends.peer.ip()) || !is_loopback(self.ends.local.ip()) || is_passed_on {
            return Err(Stranger::Elsewhere);
        }
        // A request may name its host in its first line as well, which then counts.
        let of_line = self.uri.authority().is_none_or(|authority| names_loopback(authority.host()));
        if !of_line || !host(&self.headers).is_some_and(|authority| names_loopback(authority.host())) {
            return Err(Stranger::OtherHost);
        }
        Ok(())
    }

    /// Whether what is asked was asked on this machine, by a page that came from here.
    pub(super) fn may_ask(&self) -> Result<(), Stranger> {
        self.is_here()?;
        let headers = &self.headers;
        let own = host(headers).map(|authority| format!("http://{authority}"));
        let is_own = only(headers, &ORIGIN).zip(own).is_some_and(|(origin, own)| origin.eq_ignore_ascii_case(&own));
        let site = headers.contains_key(FETCH_SITE).then(|| only(headers, &FETCH_SITE) == Some("same-origin"));
        if !is_own || site == Some(false) {
            return Err(Stranger::OtherOrigin);
        }
        Ok(())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ExtensionRejection> {
        let Extension(ends) = Extension::from_request_parts(parts, state).await?;
        Ok(Self { ends, uri: parts.uri.clone(), headers: parts.headers.clone() })
    }
}

/// The host that a request is for.
fn host(headers: &HeaderMap) -> Option<Authority> {
    let authority: Authority = only(headers, &HOST)?.parse().ok()?;
    // Where somebody's name stands before the host, the host is not what it seems.
    (!authority.as_str().contains('@')).then_some(authority)
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let only = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(only)
}

/// Whether a host is the loopback whoever resolves it: by its address, or by the one name that browsers never look up.
fn names_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const HERE: [&str; 2] = ["127.0.0.1:40000", "127.0.0.1:7312"];

    fn ends([peer, local]: [&str; 2]) -> Ends {
        Ends { peer: peer.parse().expect("an address"), local: local.parse().expect("an address") }
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn asked(between: [&str; 2], uri: &str, list: &[(&'static str, &str)]) -> Result<(), Stranger> {
        let visitor = Visitor { ends: ends(between), uri: uri.parse().expect("a path"), headers: headers(list) };
        visitor.may_ask()
    }

    #[test]
    fn a_page_of_this_machine_may_ask_under_each_of_its_names() {
        let mapped = ["[::ffff:127.0.0.1]:40000", "[::ffff:127.0.0.1]:7312"];
        for (between, host) in [
            (HERE, "127.0.0.1:7312"),
            (HERE, "127.0.0.1"),
            (HERE, "localhost:9999"),
            (HERE, "LocalHost:9999"),
            (["127.0.0.2:40000", "127.0.0.3:7312"], "127.0.0.3:7312"),
            (["[::1]:40000", "[::1]:7312"], "[::1]:7312"),
            (mapped, "127.0.0.1:7312"),
            (mapped, "[::ffff:127.0.0.1]:7312"),
        ] {
            let origin = format!("http://{host}");
            assert_eq!(asked(between, "/ask", &[("host", host), ("origin", &origin)]), Ok(()), "{host}");
            let browser = [("host", host), ("origin", &*origin), ("sec-fetch-site", "same-origin")];
            assert_eq!(asked(between, "/ask", &browser), Ok(()), "{host}");
        }
    }

    #[test]
    fn nobody_else_may() {
        let (host, origin) = (("host", "localhost:7312"), ("origin", "http://localhost:7312"));
        for between in [
            ["10.0.0.7:40000", "10.0.0.8:7312"],
            ["10.0.0.8:40000", "127.0.0.1:7312"],
            // A mesh's proxy passes on what came from elsewhere.
            ["127.0.0.6:40000", "10.0.0.8:7312"],
            ["[fe80::1]:40000", "[::1]:7312"],
            ["[::ffff:10.0.0.7]:40000", "[::ffff:10.0.0.8]:7312"],
            ["[::]:40000", "0.0.0.0:7312"],
        ] {
            assert_eq!(asked(between, "/ask", &[host, origin]), Err(Stranger::Elsewhere), "{between:?}");
        }
        for name in OF_PROXIES {
            assert_eq!(asked(HERE, "/ask", &[host, origin, (name, "x")]), Err(Stranger::Elsewhere), "{name}");
        }
    }

    #[test]
    fn a_name_that_leads_here_is_not_ours() {
        for host in [
            "evil.example",
            "evil.example:7312",
            "localhost.evil.example:7312",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil@localhost",
            "0.0.0.0:7312",
            "[::]:7312",
            "10.0.0.8:7312",
            "2130706433:7312",
            "",
            "local host",
        ] {
            let origin = format!("http://{host}");
            let got = asked(HERE, "/ask", &[("host", host), ("origin", &origin)]);
            assert_eq!(got, Err(Stranger::OtherHost), "{host}");
        }
        let (ours, origin) = (("host", "localhost:7312"), ("origin", "http://localhost:7312"));
        assert_eq!(asked(HERE, "/ask", &[origin]), Err(Stranger::OtherHost));
        assert_eq!(asked(HERE, "/ask", &[ours, ("host", "evil.example"), origin]), Err(Stranger::OtherHost));
        assert_eq!(asked(HERE, "http://evil.example/ask", &[ours, origin]), Err(Stranger::OtherHost));
        assert_eq!(asked(HERE, "http://localhost:7312/ask", &[ours, origin]), Ok(()));
    }

    #[test]
    fn another_page_may_not() {
        let host = ("host", "localhost:7312");
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost",
            "http://localhost:7313",
            "https://localhost:7312",
            "http://127.0.0.1:7312",
            "localhost:7312",
            "",
        ] {
            assert_eq!(asked(HERE, "/ask", &[host, ("origin", origin)]), Err(Stranger::OtherOrigin), "{origin}");
        }
        let own = ("origin", "http://localhost:7312");
        assert_eq!(asked(HERE, "/ask", &[host]), Err(Stranger::OtherOrigin));
        assert_eq!(asked(HERE, "/ask", &[host, own, own]), Err(Stranger::OtherOrigin));
        for site in ["cross-site", "same-site", "none", ""] {
            assert_eq!(
                asked(HERE, "/ask", &[host, own, ("sec-fetch-site", site)]),
                Err(Stranger::OtherOrigin),
                "{site}"
            );
        }
    }
}
