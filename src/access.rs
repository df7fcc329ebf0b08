//! Who may ask, and about what.
//!
//! Owns callers: their names, what tells them from others, and the purposes and channels that each may ask about. Must not
//! know how somebody proves who they are: the transport looks at certificates and sockets, asks the [`Policy`] once, and
//! puts a [`Caller`] into every request it lets through.
//!
//! Invariants:
//! - A request without a [`Caller`] is of nobody who may ask: each wire refuses it in its own way, and none answers it.
//! - What is not named is not permitted.

mod policy;
mod spiffe;

pub use policy::{Admitted, Policy, Proof, Rule};
pub use spiffe::{SpiffeId, SpiffeIdError, SpiffePattern};

use std::fmt;
use std::sync::Arc;

use crate::domain::catalogue::{ANY, is_self_or_ancestor};

/// Somebody who may ask. Clones share it.
#[derive(Clone)]
pub struct Caller(Arc<Known>);

struct Known {
    name: String,
    purposes: Vec<String>,
    channels: Vec<String>,
}

impl Caller {
    /// A caller by the name that its evidence bears; empty for whoever did not have to say who they are. A purpose
    /// permits those below it as well, `*` all of them; so with channels, which have none below.
    #[must_use]
    pub fn new(name: String, purposes: Vec<String>, channels: Vec<String>) -> Self {
        Self(Arc::new(Known { name, purposes, channels }))
    }

    /// Somebody who may ask about everything: where nobody was told apart, or this name was.
    #[must_use]
    pub fn unrestricted(name: String) -> Self {
        Self::new(name, vec![ANY.to_owned()], vec![ANY.to_owned()])
    }

    /// The name that its evidence bears; empty where it is not known.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it may ask about a purpose over a channel, known to the catalogue or not.
    #[must_use]
    pub fn may_ask(&self, purpose: &str, channel: &str) -> bool {
        let Known { purposes, channels, .. } = &*self.0;
        purposes.iter().any(|own| own == ANY || is_self_or_ancestor(own, purpose))
            && channels.iter().any(|own| own == ANY || own == channel)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.0.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_may_ask_about_what_it_was_given_and_nothing_else() {
        let mailer = Caller::new("mailer".into(), vec!["marketing".into()], vec!["email".into(), "push".into()]);
        assert!(mailer.may_ask("marketing", "email"));
        assert!(mailer.may_ask("marketing.newsletter", "push"));
        for (purpose, channel) in [
            ("marketing", "sms"),
            ("marketing", "*"),
            ("marketing_research", "email"),
            ("market", "email"),
            ("", "email"),
        ] {
            assert!(!mailer.may_ask(purpose, channel), "{purpose} over {channel}");
        }
        let nobody = Caller::new("nobody".into(), Vec::new(), vec![ANY.into()]);
        assert!(!nobody.may_ask("marketing", "email"));
        assert!(Caller::unrestricted(String::new()).may_ask("anything", "at.all"));
    }
}
