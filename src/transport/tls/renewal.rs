//! TLS files that are replaced while connections live: what was loaded last, until others are sound.
//!
//! The contents are looked at and not the files' times: a volume of Kubernetes changes by a link being turned, and two files
//! are replaced one after the other. Connections keep what they began with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::MissedTickBehavior;
use tokio_rustls::rustls::ServerConfig;

use super::files::{Files, Fingerprint};
use super::{Loaded, Tls, TlsError};
use crate::clock::Clock;
use crate::domain::Time;

/// How often the files are looked at. A look reads a few KiB that the kernel has in memory.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What connections are begun with now.
#[derive(Debug)]
pub(in crate::transport) struct Renewed {
    tls: Tls,
    /// Whether HTTP/1.1 is spoken beside HTTP/2.
    http1: bool,
    loaded: ArcSwap<Loaded>,
    failing: AtomicBool,
    clock: Clock,
}

/// What the looks have found so far.
struct Looks {
    in_force: Fingerprint,
    /// What was wrong at the last look.
    wrong: Option<String>,
    /// What was said to be wrong.
    said: Option<String>,
    end: End,
}

/// How far the end of our certificate was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Far,
    Near,
    Past,
}

impl Renewed {
    /// Loads the files.
    pub(in crate::transport) fn load(tls: Tls, http1: bool, clock: Clock) -> Result<(Self, Fingerprint), TlsError> {
        let files = Files::read(&tls)?;
        let loaded = ArcSwap::from_pointee(tls.load(&files, http1)?);
        Ok((Self { tls, http1, loaded, failing: AtomicBool::new(false), clock }, files.fingerprint()))
    }

    /// What a connection begins with.
    pub(in crate::transport) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.load().config)
    }

    /// When our certificate begins.
    pub(in crate::transport) fn begins(&self) -> Time {
        self.loaded.load().lifetime.begins
    }

    /// When our certificate ends.
    pub(in crate::transport) fn ends(&self) -> Time {
        self.loaded.load().lifetime.ends
    }

    /// Whether the files as they are now cannot be used.
    pub(in crate::transport) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Looks at the files for ever.
    pub(in crate::transport) async fn watch(self: Arc<Self>, in_force: Fingerprint) {
        let mut looks = Looks { in_force, wrong: None, said: None, end: End::Far };
        let mut pace = tokio::time::interval(LOOK_INTERVAL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let renewed = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                renewed.look(&mut looks);
                looks
            });
            // It ends with the runtime, or panicked, which was told by the panic.
            let Ok(looked) = looked.await else { return };
            looks = looked;
        }
    }

    fn look(&self, looks: &mut Looks) {
        match self.renew(looks.in_force) {
            Ok(renewed) => {
                if let Some((loaded, fingerprint)) = renewed {
                    let ends = loaded.lifetime.end_text();
                    self.loaded.store(Arc::new(loaded));
                    (looks.in_force, looks.end) = (fingerprint, End::Far);
                    tracing::info!(%ends, "the TLS files were replaced; new connections begin with them");
                } else if looks.said.is_some() {
                    tracing::info!("the TLS files are again those in force");
                }
                (looks.wrong, looks.said) = (None, None);
                self.failing.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                let wrong = Some(error.to_string());
                // Once may be between the replacing of one file and of the next.
                if wrong == looks.wrong && wrong != looks.said {
                    tracing::error!(%error, "the TLS files cannot be used; those loaded before stay in force");
                    looks.said.clone_from(&wrong);
                    self.failing.store(true, Ordering::Relaxed);
                }
                looks.wrong = wrong;
            }
        }
        self.look_at_the_end(looks);
    }

    /// What the files make, unless they are those in force.
    fn renew(&self, in_force: Fingerprint) -> Result<Option<(Loaded, Fingerprint)>, TlsError> {
        let files = Files::read(&self.tls)?;
        let fingerprint = files.fingerprint();
        if fingerprint == in_force {
            return Ok(None);
        }
        Ok(Some((self.tls.load(&files, self.http1)?, fingerprint)))
    }

    fn look_at_the_end(&self, looks: &mut Looks) {
        let (lifetime, now) = (self.loaded.load().lifetime, self.clock.now());
        let (ends, cert) = (lifetime.end_text(), self.tls.cert_file.display());
        let end = match lifetime {
            lifetime if lifetime.ends <= now => End::Past,
            lifetime if lifetime.is_near_its_end(now) => End::Near,
            _ => End::Far,
        };
        match end {
            end if end == looks.end => {}
            End::Far => {}
            End::Near => tracing::warn!(%cert, %ends, "the TLS certificate ends soon, and was not replaced"),
            End::Past => tracing::error!(%cert, %ends, "the TLS certificate has ended; callers refuse it"),
        }
        looks.end = end;
    }
}
