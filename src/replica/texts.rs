//! One copy of each text that many states have: a million subjects name a dozen purposes.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::domain::{StateParts, Text};

/// Distinct texts that are kept. Purposes, channels, recipients, notices and methods stay far below; past it, texts are
/// merely not shared, so that a writer who makes up a new one each time costs no memory here.
const TEXTS_MAX: usize = 4096;

/// The texts that are shared.
#[derive(Debug, Default)]
pub(super) struct Texts(Mutex<HashSet<Text>>);

impl Texts {
    /// Replaces the texts of a state by shared ones. Proofs are each their own.
    pub(super) fn share(&self, parts: &mut StateParts) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in &mut parts.slots {
            for text in [&mut slot.purpose, &mut slot.channel, &mut slot.recipient] {
                share(&mut known, text);
            }
            for record in [&mut slot.grant, &mut slot.refusal, &mut slot.request].into_iter().flatten() {
                share(&mut known, &mut record.jurisdiction);
                share(&mut known, &mut record.collection.method);
                if let Some(notice) = &mut record.notice {
                    share(&mut known, &mut notice.id);
                    share(&mut known, &mut notice.language);
                }
                if record.proof.is_empty() {
                    share(&mut known, &mut record.proof);
                }
            }
        }
    }
}

fn share(known: &mut HashSet<Text>, text: &mut Text) {
    if let Some(shared) = known.get(&**text) {
        *text = shared.clone();
    } else if known.len() < TEXTS_MAX {
        known.insert(text.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Slot;

    fn parts(purpose: &str) -> StateParts {
        let slot = Slot {
            purpose: purpose.into(),
            channel: "email".into(),
            recipient: "".into(),
            grant: None,
            refusal: None,
            request: None,
        };
        StateParts { slots: vec![slot], ..StateParts::default() }
    }

    #[test]
    fn equal_texts_become_one_and_the_number_is_bounded() {
        let texts = Texts::default();
        let (mut one, mut other) = (parts("marketing"), parts("marketing"));
        texts.share(&mut one);
        texts.share(&mut other);
        assert_eq!(one.slots[0].purpose.as_ptr(), other.slots[0].purpose.as_ptr());
        assert_eq!(one, other);
        for number in 0..2 * TEXTS_MAX {
            texts.share(&mut parts(&number.to_string()));
        }
        assert_eq!(texts.0.lock().expect("not poisoned").len(), TEXTS_MAX);
    }
}
