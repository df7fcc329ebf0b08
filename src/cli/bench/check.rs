//! Checks of Envoy for a run: requests as its filter sends them for a browser's, and what is read of the responses.

use prost::Message as _;

use super::load::Asked;
use super::wire::{Counts, Unreadable};
use crate::cli::Failure;
use crate::proto::foreign::envoy::config::core::v3::HeaderValueOption;
use crate::proto::foreign::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use crate::proto::foreign::envoy::service::auth::v3::check_response::HttpResponse;
use crate::proto::foreign::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use crate::proto::v1;

/// Where the question stands; the sidecar's mapping must say so too.
const SUBJECT: &str = "x-subject";
const PURPOSE: &str = "x-purpose";
const CHANNEL: &str = "x-channel";

/// What a browser's request has besides, with Envoy's own headers: some 700 bytes, which have to be read as well.
const OTHERS: [(&str, &str); 13] = [
    (":authority", "shop.example.org"),
    (":method", "GET"),
    (":path", "/offers?page=2"),
    (":scheme", "https"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "tr-TR,tr;q=0.8,en-US;q=0.5,en;q=0.3"),
    ("cookie", "session=6f1d0c2ab94e4a1f8b2f6b3c1e5d7a90; theme=dark; consent=seen"),
    ("referer", "https://shop.example.org/"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "0b6f1c2e-8f0e-4b6a-9d0f-6f5c1e7a2b3d"),
];

/// A check about a subject.
pub(super) fn request(asked: &Asked, subject: &v1::Subject) -> CheckRequest {
    let subject = format!("{}:{}", subject.space, subject.id);
    let own = [(SUBJECT, &*subject), (PURPOSE, &*asked.purpose), (CHANNEL, &*asked.channel)];
    let headers = own.into_iter().chain(OTHERS).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let http = HttpRequest { headers, path: "/offers?page=2".to_owned(), header_map: None };
    let attributes = AttributeContext { request: Some(Request { http: Some(http) }), ..AttributeContext::default() };
    CheckRequest { attributes: Some(attributes) }
}

/// Whether a first response answers the question, rather than refusing to look for one.
///
/// # Errors
/// If it does not, saying why.
pub(super) fn examine(response: &[u8]) -> Result<(), Failure> {
    let response = CheckResponse::decode(response)?;
    let reason = header(&response, "x-consentd-reason").unwrap_or_default();
    if v1::Reason::from_str_name(&format!("REASON_{reason}")).is_some() {
        return Ok(());
    }
    let mapping = "--set ext_authz.subject=header:x-subject --set ext_authz.purpose=header:x-purpose \
                   --set ext_authz.channel=header:x-channel";
    Err(Failure::new(format!("the sidecar answers no check: `{reason}`; start it with `{mapping}`")))
}

/// Counts what a response says.
///
/// # Errors
/// If it is none, or is not explicit.
pub(super) fn count(counts: &mut Counts, response: &[u8]) -> Result<u64, Unreadable> {
    let response = CheckResponse::decode(response).map_err(|_| Unreadable)?;
    let reason = header(&response, "x-consentd-reason").ok_or(Unreadable)?;
    let reason = v1::Reason::from_str_name(&format!("REASON_{reason}")).ok_or(Unreadable)?;
    let allowed = response.status.as_ref().is_some_and(|status| status.code == 0);
    counts.add_one(reason, allowed, header(&response, "x-consentd-evidence-id").is_some());
    Ok(1)
}

fn header<'a>(response: &'a CheckResponse, name: &str) -> Option<&'a str> {
    let headers: &[HeaderValueOption] = match response.http_response.as_ref()? {
        HttpResponse::OkResponse(ok) => &ok.headers,
        HttpResponse::DeniedResponse(denied) => &denied.headers,
    };
    let found = headers.iter().filter_map(|option| option.header.as_ref()).find(|header| header.key == name);
    found.map(|header| &*header.value)
}
