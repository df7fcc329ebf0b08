//! consentd: a sidecar that answers, fast and provably, whether a subject's data may be processed for a purpose, over a
//! channel, now.
//!
//! # The house
//!
//! ```text
//! updates    ledger source ──▶ replica (apply ▶ store ▶ cache)                      freshness
//! questions  gRPC | ext_authz | AuthZEN ──▶ enforcer ──▶ replica ─▶ decide ─▶ evidence ─▶ answer
//! evidence   write-ahead log ──▶ tree, signed checkpoint
//! ```
//!
//! Which room may use which is stated in `ARCHITECTURE.md` and held by `tests/architecture.rs`.

pub mod access;
pub mod admin;
pub mod app;
pub mod authzen;
pub mod cli;
pub mod clock;
pub mod config;
pub mod document;
pub mod domain;
pub mod enforcer;
pub mod evidence;
pub mod explain;
pub mod ext_authz;
pub mod grpc;
pub mod html;
pub mod impact;
pub mod injector;
pub mod ledger;
pub mod lifecycle;
pub mod machine;
pub mod nats;
pub mod proto;
pub mod replica;
pub mod report;
pub mod signals;
pub mod telemetry;
pub mod transport;
pub mod zones;
