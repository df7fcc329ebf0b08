//! Who of those that a connection can be from may ask.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{Caller, SpiffeId, SpiffePattern};

/// What a connection proves about who is at its other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// That somebody could reach it.
    Nothing,
    /// That a process of this user of this machine has opened it.
    Uid(u32),
    /// That whoever has opened it holds the key of a workload.
    Spiffe(SpiffeId),
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Spiffe(id) => write!(f, "{id}"),
        }
    }
}

/// A caller as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The name that its evidence bears; no two have the same.
    pub name: String,
    /// The ids of its workloads.
    pub spiffe: Option<SpiffePattern>,
    /// Its user on this machine.
    pub uid: Option<u32>,
    /// What it may ask about, with what is below each; `*` is all.
    pub purposes: Vec<String>,
    /// Over which channels; `*` is all.
    pub channels: Vec<String>,
    /// Whether it may say for whom it asks.
    pub forwards: bool,
}

/// Somebody who may ask over a connection.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Who it is.
    pub caller: Caller,
    /// Whether it may say for whom it asks.
    pub forwards: bool,
}

/// Who may ask. Clones share it.
#[derive(Debug, Clone)]
pub struct Policy(Arc<Known>);

#[derive(Debug)]
enum Known {
    /// Whoever reaches a listener may ask about everything.
    Anybody,
    /// These may, and nobody else.
    Callers {
        by_uid: HashMap<u32, Admitted>,
        /// The closest first.
        by_spiffe: Vec<(SpiffePattern, Admitted)>,
    },
}

impl Policy {
    /// Whoever reaches a listener may ask, by the name that their connection proves.
    #[must_use]
    pub fn anybody() -> Self {
        Self(Arc::new(Known::Anybody))
    }

    /// These may ask and nobody else; without any, [`anybody`](Self::anybody).
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        if rules.is_empty() {
            return Self::anybody();
        }
        let (mut by_uid, mut by_spiffe) = (HashMap::new(), Vec::new());
        for Rule { name, spiffe, uid, purposes, channels, forwards } in rules {
            let caller = Caller::new(name.clone(), purposes.clone(), channels.clone());
            let admitted = Admitted { caller, forwards: *forwards };
            if let Some(uid) = uid {
                by_uid.insert(*uid, admitted.clone());
            }
            if let Some(pattern) = spiffe {
                by_spiffe.push((pattern.clone(), admitted));
            }
        }
        by_spiffe.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
        Self(Arc::new(Known::Callers { by_uid, by_spiffe }))
    }

    /// Who that is; `None` is nobody who may ask.
    #[must_use]
    pub fn admit(&self, proof: &Proof) -> Option<Admitted> {
        match (&*self.0, proof) {
            (Known::Anybody, proof) => {
                Some(Admitted { caller: Caller::unrestricted(proof.to_string()), forwards: false })
            }
            (Known::Callers { .. }, Proof::Nothing) => None,
            (Known::Callers { by_uid, .. }, Proof::Uid(uid)) => by_uid.get(uid).cloned(),
            (Known::Callers { by_spiffe, .. }, Proof::Spiffe(id)) => {
                let found = by_spiffe.iter().find(|(pattern, _)| pattern.matches(id));
                found.map(|(_, admitted)| admitted.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, spiffe: Option<&str>, uid: Option<u32>) -> Rule {
        Rule {
            name: name.to_owned(),
            spiffe: spiffe.map(|text| text.parse().expect("a pattern")),
            uid,
            purposes: vec!["marketing".to_owned()],
            channels: vec!["email".to_owned()],
            forwards: name == "gateway",
        }
    }

    fn spiffe(text: &str) -> Proof {
        Proof::Spiffe(text.parse().expect("an id"))
    }

    #[test]
    fn with_callers_who_is_none_of_them_is_nobody() {
        let policy = Policy::new(&[
            rule("all", Some("spiffe://example.org/*"), None),
            rule("mail", Some("spiffe://example.org/ns/mail/*"), Some(1000)),
            rule("gateway", Some("spiffe://example.org/ns/mail/sa/gateway"), None),
        ]);
        let name = |proof: &Proof| policy.admit(proof).map(|admitted| admitted.caller.name().to_owned());
        assert_eq!(name(&Proof::Nothing), None);
        assert_eq!(name(&Proof::Uid(0)), None);
        assert_eq!(name(&Proof::Uid(1000)).as_deref(), Some("mail"));
        // The closest is meant, whatever the order.
        assert_eq!(name(&spiffe("spiffe://example.org/x")).as_deref(), Some("all"));
        assert_eq!(name(&spiffe("spiffe://example.org/ns/mail/sa/sender")).as_deref(), Some("mail"));
        assert_eq!(name(&spiffe("spiffe://example.org/ns/mail/sa/gateway")).as_deref(), Some("gateway"));
        assert_eq!(name(&spiffe("spiffe://other.org/x")), None);
        let forwards = |text| policy.admit(&spiffe(text)).expect("a caller").forwards;
        assert!(forwards("spiffe://example.org/ns/mail/sa/gateway"));
        assert!(!forwards("spiffe://example.org/ns/mail/sa/sender"));
    }

    #[test]
    fn without_callers_everybody_may_ask_by_the_name_that_is_proved_and_forward_for_nobody() {
        let policy = Policy::new(&[]);
        for (proof, name) in [
            (Proof::Nothing, ""),
            (Proof::Uid(1000), "uid:1000"),
            (spiffe("spiffe://example.org/a"), "spiffe://example.org/a"),
        ] {
            let admitted = policy.admit(&proof).expect("anybody");
            assert_eq!((admitted.caller.name(), admitted.forwards), (name, false));
            assert!(admitted.caller.may_ask("anything", "at.all"));
        }
    }
}
