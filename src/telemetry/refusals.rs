//! Who was answered nothing, and why: the one trace that they leave, for nothing was answered that evidence could be of.

use std::sync::atomic::{AtomicU64, Ordering};

/// What came to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// A connection, before anything was asked.
    Connection,
    /// A call of `consent.v1`.
    Grpc,
    /// A check of Envoy.
    ExtAuthz,
    /// A request of `AuthZEN`.
    Authzen,
    /// A question asked on the local page.
    Admin,
}

/// Why it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There was no agreement on TLS, or the other side has no certificate that is taken.
    Handshake,
    /// It is nobody who may ask.
    UnknownCaller,
    /// It is somebody who may not ask about this.
    NotPermitted,
}

/// All that can be refused, and why.
const ALL: [(Wire, Refusal); 8] = [
    (Wire::Connection, Refusal::Handshake),
    (Wire::Grpc, Refusal::UnknownCaller),
    (Wire::Grpc, Refusal::NotPermitted),
    (Wire::ExtAuthz, Refusal::UnknownCaller),
    (Wire::ExtAuthz, Refusal::NotPermitted),
    (Wire::Authzen, Refusal::UnknownCaller),
    (Wire::Authzen, Refusal::NotPermitted),
    (Wire::Admin, Refusal::UnknownCaller),
];

impl Wire {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Grpc => "grpc",
            Self::ExtAuthz => "ext_authz",
            Self::Authzen => "authzen",
            Self::Admin => "admin",
        }
    }
}

impl Refusal {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::UnknownCaller => "unknown_caller",
            Self::NotPermitted => "not_permitted",
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Refusals([AtomicU64; ALL.len()]);

impl Refusals {
    /// Counts one.
    pub(super) fn add(&self, wire: Wire, why: Refusal) {
        if let Some((_, count)) = ALL.iter().zip(&self.0).find(|(line, _)| **line == (wire, why)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every line, zeros included: an alert on what never was is one on what is not there.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Wire, Refusal, u64)> {
        ALL.iter().zip(&self.0).map(|((wire, why), count)| (*wire, *why, count.load(Ordering::Relaxed)))
    }
}
