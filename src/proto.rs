//! The wire types of `proto/`, generated when the crate is built, and how their words are the domain's words.
//!
//! No other behaviour lives here. Must not know who sends or reads the messages.

pub mod time;
mod timeout;
mod words;

pub use timeout::grpc_timeout;
pub use words::Unspecified;

/// Package `consent.v1`: the service, the ledger's events and the evidence records.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated from proto/, where everything is documented"
)]
pub mod v1 {
    tonic::include_proto!("consent.v1");
    include!(concat!(env!("OUT_DIR"), "/consent.v1.serde.rs"));
}

/// Packages `envoy.…` and `google.rpc`, in modules of the same names: what Envoy asks, and how it is answered.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated from proto/, where the fields are upstream's"
)]
pub mod foreign {
    tonic::include_proto!("envoy");
}

/// The encoded `FileDescriptorSet` of the package, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/consent.v1.descriptors.bin"));
