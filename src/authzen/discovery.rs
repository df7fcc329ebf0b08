//! The sidecar's metadata. Source: section 9.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::EVALUATIONS;
use super::answer::{JSON, written};
use super::refusal::Refusal;

/// Where metadata is, between the host and the path of what it is about.
const WELL_KNOWN: &str = "/.well-known/authzen-configuration";

#[derive(Serialize)]
struct Metadata<'a> {
    policy_decision_point: &'a str,
    access_evaluation_endpoint: String,
    access_evaluations_endpoint: String,
}

/// The metadata of whoever is reached at a URL, where this is the path of it.
///
/// # Errors
/// If there is no URL, or its metadata is elsewhere: a client must not take one's metadata for another's.
pub(super) fn metadata(url: Option<&str>, path: &str) -> Result<Response, Refusal> {
    let url = url.filter(|url| path.strip_prefix(WELL_KNOWN) == Some(path_of(url))).ok_or(Refusal::NotServed)?;
    let metadata = Metadata {
        policy_decision_point: url,
        access_evaluation_endpoint: format!("{url}/access/v1/evaluation"),
        access_evaluations_endpoint: format!("{url}{EVALUATIONS}"),
    };
    Ok(([(CONTENT_TYPE, JSON)], written(&metadata)?).into_response())
}

/// The path of a URL, empty or with its slash.
fn path_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let host_and_path = url.get(after_scheme..).unwrap_or_default();
    host_and_path.find('/').and_then(|at| host_and_path.get(at..)).unwrap_or_default()
}
