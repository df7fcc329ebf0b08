//! What makes a question well-formed, whatever wire it came over. A purpose that no catalogue names is well-formed.
//!
//! Every check takes the field's name as its wire has it, and what is wrong never repeats a subject.

use std::fmt::Display;

use super::{EvidenceId, Token};
use crate::domain::catalogue::{CHANNEL_BYTES_MAX, PURPOSE_BYTES_MAX, RECIPIENT_BYTES_MAX};
use crate::domain::{Signals, Subject, SubjectError, Zone, is_jurisdiction};
use crate::zones;

/// The longest `Sec-GPC` value, in bytes: the only meaningful one has one.
const SEC_GPC_BYTES_MAX: usize = 16;
/// The longest TCF or GPP string, in bytes: a string that discloses all vendors stays below.
const CONSENT_STRING_BYTES_MAX: usize = 16 * 1024;
/// The longest ledger token, in bytes.
const TOKEN_BYTES_MAX: usize = 64;
/// The longest evidence id, in bytes.
const EVIDENCE_ID_BYTES_MAX: usize = 64;

/// Why a question is not one, naming the field. Holds no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct Malformed {
    /// The field, as its wire names it.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Malformed {
    /// What is wrong with a field.
    pub fn new(field: impl Display, problem: impl Display) -> Self {
        Self { field: field.to_string(), problem: problem.to_string() }
    }
}

/// A subject's space and id. The field is only named where something is wrong with it.
///
/// # Errors
/// If it is no [`Subject`].
pub fn subject<F: Display>(field: impl Fn() -> F, space: &str, id: &str) -> Result<(), Malformed> {
    Subject::check(space, id).map_err(|error| {
        let part = match error {
            SubjectError::Space => "space",
            SubjectError::Id | SubjectError::NoSpace => "id",
        };
        Malformed::new(format_args!("{}.{part}", field()), format_args!("is malformed: {error}"))
    })
}

/// A purpose that may be empty.
///
/// # Errors
/// If it is too long or has control characters; so with the following.
pub fn purpose(field: impl Display, value: &str) -> Result<&str, Malformed> {
    text(field, value, PURPOSE_BYTES_MAX)
}

/// A channel that may be empty.
///
/// # Errors
/// As [`purpose`].
pub fn channel(field: impl Display, value: &str) -> Result<&str, Malformed> {
    text(field, value, CHANNEL_BYTES_MAX)
}

/// A recipient that may be empty.
///
/// # Errors
/// As [`purpose`].
pub fn recipient(field: impl Display, value: &str) -> Result<&str, Malformed> {
    text(field, value, RECIPIENT_BYTES_MAX)
}

/// A text that must be there.
///
/// # Errors
/// If it is empty.
pub fn present(field: impl Display, value: &str) -> Result<&str, Malformed> {
    if value.is_empty() { Err(Malformed::new(field, "is missing")) } else { Ok(value) }
}

/// A jurisdiction that may be empty.
///
/// # Errors
/// If it is no code of ISO 3166.
pub fn jurisdiction(field: impl Display, code: &str) -> Result<&str, Malformed> {
    if is_jurisdiction(code) {
        Ok(code)
    } else {
        Err(Malformed::new(field, "is not an ISO 3166 code in capitals, such as `TR` or `US-ME`"))
    }
}

/// The clock of a time zone's name, which may be empty.
///
/// # Errors
/// If it is no name of the IANA time zone database: quiet hours by a clock that was not meant would let through what they
/// are to stop.
pub fn time_zone(field: impl Display, name: &str) -> Result<Option<&'static Zone>, Malformed> {
    if name.is_empty() {
        return Ok(None);
    }
    let zone = zones::find(name);
    zone.map(Some).ok_or_else(|| Malformed::new(field, "is not an IANA time zone, such as `Europe/Istanbul`"))
}

/// Signals, of which none may be unreasonably long.
///
/// # Errors
/// If one is.
pub fn signals(field: impl Display, signals: Signals<'_>) -> Result<Signals<'_>, Malformed> {
    let Signals { sec_gpc, tcf, gpp } = signals;
    let parts = [
        ("sec_gpc", sec_gpc, SEC_GPC_BYTES_MAX),
        ("tcf", tcf, CONSENT_STRING_BYTES_MAX),
        ("gpp", gpp, CONSENT_STRING_BYTES_MAX),
    ];
    for (part, value, bytes_max) in parts {
        if value.len() > bytes_max {
            let field = format_args!("{field}.{part}");
            return Err(Malformed::new(field, format_args!("is longer than {bytes_max} bytes")));
        }
    }
    Ok(signals)
}

/// A token with its text; an empty one was not asked for.
///
/// # Errors
/// If it is none.
pub fn token(field: impl Display, token: &str) -> Result<Option<(Token, &str)>, Malformed> {
    if token.is_empty() {
        return Ok(None);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Malformed::new(field, format_args!("is longer than {TOKEN_BYTES_MAX} bytes")));
    }
    let parsed = token.parse().map_err(|error| Malformed::new(field, format_args!("is {error}")))?;
    Ok(Some((parsed, token)))
}

/// An evidence id.
///
/// # Errors
/// If it is none.
pub fn evidence_id(field: impl Display, id: &str) -> Result<EvidenceId, Malformed> {
    if id.len() > EVIDENCE_ID_BYTES_MAX {
        return Err(Malformed::new(field, format_args!("is longer than {EVIDENCE_ID_BYTES_MAX} bytes")));
    }
    id.parse().map_err(|error| Malformed::new(field, format_args!("is malformed: {error}")))
}

fn text(field: impl Display, value: &str, bytes_max: usize) -> Result<&str, Malformed> {
    if value.len() > bytes_max {
        return Err(Malformed::new(field, format_args!("is longer than {bytes_max} bytes")));
    }
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Malformed::new(field, "has control characters"));
    }
    Ok(value)
}
