//! The names by which a pod and the sidecar in it know each other.

use std::net::SocketAddr;

/// What annotations of ours begin with.
pub(super) const PREFIX: &str = "consentd.io/";
/// The sidecar's container.
pub(super) const CONTAINER: &str = "consentd";
/// The volume of the socket.
pub(super) const SOCKET_VOLUME: &str = "consentd-socket";
/// The volume of evidence and of the local copy.
pub(super) const DATA_VOLUME: &str = "consentd-data";
/// The volume of the Secret.
pub(super) const KEYS_VOLUME: &str = "consentd-keys";
/// An empty volume that stands where the token of the pod's service account would.
pub(super) const NO_TOKEN_VOLUME: &str = "consentd-no-token";
/// The volumes.
pub(super) const VOLUMES: [&str; 4] = [SOCKET_VOLUME, DATA_VOLUME, NO_TOKEN_VOLUME, KEYS_VOLUME];
/// The folder of the socket, in the sidecar and in whoever asks.
pub(super) const SOCKET_DIR: &str = "/run/consentd";
/// The socket.
pub(super) const SOCKET: &str = "/run/consentd/consentd.sock";
/// The folder of what the sidecar writes.
pub(super) const DATA_DIR: &str = "/var/lib/consentd";
/// The folder of the Secret's files.
pub(super) const KEYS_DIR: &str = "/etc/consentd/keys";
/// Where Kubernetes mounts the token of the pod's service account, unless something is mounted there.
/// Source: k8s.io/kubernetes, plugin/pkg/admission/serviceaccount, `DefaultAPITokenMountPath`.
pub(super) const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The Secret in the pod's namespace, unless the settings name another.
pub(super) const DEFAULT_SECRET: &str = "consentd";
/// Where the sidecar shows metrics and readiness.
pub(super) const ADMIN_PORT: u16 = 7312;
/// The name of that port.
pub(super) const ADMIN_PORT_NAME: &str = "consentd-admin";
/// Tells those who ask where; a target of gRPC.
pub(super) const TARGET_VARIABLE: &str = crate::config::TARGET_VARIABLE;
/// The target.
pub(super) const TARGET: &str = "unix:///run/consentd/consentd.sock";

/// What a sidecar in a pod is configured with, whatever the settings say, by key.
///
/// The socket is open to every user: it is on a volume of the pod's own, whose containers run as whom they like.
pub(super) fn own_configuration(admin: Option<SocketAddr>) -> [(&'static str, String); 6] {
    [
        ("admin.plaintext", admin.is_some().to_string()),
        ("admin.tcp", admin.map_or_else(|| "off".to_owned(), |admin| admin.to_string())),
        ("data_dir", DATA_DIR.to_owned()),
        ("server.tcp", "off".to_owned()),
        ("server.uds", SOCKET.to_owned()),
        ("server.uds_mode", "0666".to_owned()),
    ]
}
