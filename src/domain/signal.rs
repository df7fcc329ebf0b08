//! What signals say that travel as strings. They are decoded elsewhere, and only ever narrow what is allowed.

mod detail;
mod gpp;
mod sets;
mod tcf;

pub use detail::{Barred, OptOut, SignalDetail};
pub use gpp::{Gpp, GppSection, SensitiveData, section_name};
pub use sets::{SmallSet, Vendors};
pub use tcf::{PublisherTc, Tcf, TcfFlaw, TcfRestriction, TcfRestrictionKind};
