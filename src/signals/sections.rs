//! The sections of the United States, field by field, each as its specification lays it out.
//!
//! Source: IAB Tech Lab, Global Privacy Platform, Sections: US-National 1.0 and 2.0, and one document a state.

use super::Unreadable;
use super::bits::Bits;
use crate::domain::signal::{GppSection, SensitiveData};

/// How a section is laid out: its first segment, and which other it may have.
struct Layout {
    id: u16,
    /// The version that its first six bits must name; `None` where they hold the version of an agreement.
    version: Option<u64>,
    core: &'static [Field],
    second: Second,
}

/// What may stand behind the first segment.
#[derive(Clone, Copy)]
enum Second {
    Nothing,
    /// The Global Privacy Control of the browser.
    Gpc,
    /// Categories of sensitive data, to each of which the state demands consent. Where the segment is absent none was
    /// consented to.
    Consents(&'static [SensitiveData]),
}

/// A field, or a list of them, of two bits each.
#[derive(Clone, Copy)]
enum Field {
    /// 0 to 2, and nothing here depends on it.
    Unused,
    /// Whether a private agreement covers the transaction: 1 or 2.
    Covered,
    /// Whether the subject was told that it may opt out: not told is 2, and as good as opted out.
    Told(Topic),
    /// Whether the subject opted out: it did is 1.
    OptOut(Topic),
    /// Categories of sensitive data that may be opted out of: opted out is 1.
    OptOuts(&'static [SensitiveData]),
    /// Categories of sensitive data that need consent: consented is 2.
    Consents(&'static [SensitiveData]),
    /// Consents for a known child: none is 1, and as good as opted out.
    Child(&'static [Topic]),
}

/// What a field is about.
#[derive(Clone, Copy)]
enum Topic {
    Sale,
    Sharing,
    TargetedAdvertising,
    /// All categories that may be opted out of.
    Sensitive,
    /// All processing of a known child's data.
    Everything,
}

/// The section of a number from its text; `None` where the number is no section of the United States that is known.
pub(super) fn read(id: u16, text: &str) -> Option<Result<GppSection, Unreadable>> {
    if id == US_PRIVACY {
        return Some(us_privacy(text));
    }
    let mut layouts = LAYOUTS.iter().filter(|layout| layout.id == id).peekable();
    layouts.peek()?;
    // Of a section in several versions, each version has one form, so that at most one of them can be read.
    let mut outcome = Err(Unreadable::Version);
    for layout in layouts {
        outcome = layout.read(text);
        if outcome != Err(Unreadable::Version) {
            break;
        }
    }
    Some(outcome)
}

impl Layout {
    fn read(&self, text: &str) -> Result<GppSection, Unreadable> {
        let (first, second) = text.split_once('.').map_or((text, None), |(first, second)| (first, Some(second)));
        let mut section = GppSection { id: self.id, ..GppSection::default() };
        let mut bits = Bits::new(first)?;
        let version = bits.take(6)?;
        if self.version.is_some_and(|wanted| wanted != version) || version == 0 {
            return Err(Unreadable::Version);
        }
        self.read_core(bits, &mut section)?;
        match (self.second, second) {
            (Second::Nothing | Second::Gpc, None) => {}
            (Second::Gpc, Some(text)) => {
                let mut bits = Bits::new(text)?;
                if bits.take(2)? != GPC_SEGMENT {
                    return Err(Unreadable::Segment);
                }
                section.gpc = bits.flag()?;
                bits.end()?;
            }
            (Second::Consents(categories), Some(text)) => {
                let mut bits = Bits::new(text)?;
                consents(&mut bits, categories, &mut section)?;
                bits.end()?;
            }
            (Second::Consents(categories), None) => {
                section.sensitive_data = categories.iter().fold(section.sensitive_data, |all, one| all.with(*one));
            }
            (Second::Nothing, Some(_)) => return Err(Unreadable::Segment),
        }
        Ok(section)
    }

    /// The fields behind the version.
    fn read_core(&self, bits: Bits<'_>, section: &mut GppSection) -> Result<(), Unreadable> {
        if self.id == US_NATIONAL && self.version == Some(1) {
            return self.read_first_national(bits, section);
        }
        read_fields(bits, self.core, section)
    }

    /// The national section's first version got longer lists without a new number for a while. No text can be read in
    /// both forms: where the shorter ends in nothing but zeros, the field that must not be 0 is 0 in the longer.
    fn read_first_national(&self, bits: Bits<'_>, section: &mut GppSection) -> Result<(), Unreadable> {
        let as_it_was = *section;
        let outcome = read_fields(bits.clone(), self.core, section);
        if outcome.is_err() {
            *section = as_it_was;
            return read_fields(bits, NATIONAL_2, section);
        }
        outcome
    }
}

fn read_fields(mut bits: Bits<'_>, fields: &[Field], section: &mut GppSection) -> Result<(), Unreadable> {
    for field in fields {
        match field {
            Field::Unused => drop(choice(&mut bits)?),
            Field::Covered => {
                if choice(&mut bits)? == NOT_APPLICABLE {
                    return Err(Unreadable::Value);
                }
            }
            Field::Told(topic) => {
                if choice(&mut bits)? == NOT_TOLD {
                    section.opt_out(*topic, fields);
                }
            }
            Field::OptOut(topic) => {
                if choice(&mut bits)? == OPTED_OUT {
                    section.opt_out(*topic, fields);
                }
            }
            Field::OptOuts(categories) => {
                for category in *categories {
                    if choice(&mut bits)? == OPTED_OUT {
                        section.sensitive_data = section.sensitive_data.with(*category);
                    }
                }
            }
            Field::Consents(categories) => consents(&mut bits, categories, section)?,
            Field::Child(topics) => {
                for topic in *topics {
                    if choice(&mut bits)? == NO_CONSENT {
                        section.opt_out(*topic, fields);
                    }
                }
            }
        }
    }
    bits.end()
}

/// Where a state demands consent, whatever is not a consent is none, "not applicable" included: the controller that says
/// it does not process this category has not asked for it.
fn consents(bits: &mut Bits<'_>, categories: &[SensitiveData], section: &mut GppSection) -> Result<(), Unreadable> {
    for category in categories {
        if choice(bits)? != CONSENT {
            section.sensitive_data = section.sensitive_data.with(*category);
        }
    }
    Ok(())
}

/// Two bits, of which 3 is no value.
fn choice(bits: &mut Bits<'_>) -> Result<u64, Unreadable> {
    let value = bits.take(2)?;
    (value <= 2).then_some(value).ok_or(Unreadable::Value)
}

const NOT_APPLICABLE: u64 = 0;
const NOT_TOLD: u64 = 2;
const OPTED_OUT: u64 = 1;
const NO_CONSENT: u64 = 1;
const CONSENT: u64 = 2;
const GPC_SEGMENT: u64 = 1;

impl GppSection {
    fn opt_out(&mut self, topic: Topic, fields: &[Field]) {
        match topic {
            Topic::Sale => self.sale = true,
            Topic::Sharing => self.sharing = true,
            Topic::TargetedAdvertising => self.targeted_advertising = true,
            Topic::Everything => self.child = true,
            Topic::Sensitive => {
                let of = |field: &Field| match field {
                    Field::OptOuts(categories) => *categories,
                    _ => &[],
                };
                let all = fields.iter().flat_map(of);
                self.sensitive_data = all.fold(self.sensitive_data, |have, category| have.with(*category));
            }
        }
    }
}

/// The oldest section: a version, and three letters of `Y`, `N` or `-`. Source: IAB Tech Lab, U.S. Privacy String. It is
/// older than the difference between selling and sharing, and stands for both.
fn us_privacy(text: &str) -> Result<GppSection, Unreadable> {
    let &[version, told, opted_out, agreement] = text.as_bytes() else { return Err(Unreadable::Value) };
    if version != b'1' {
        return Err(Unreadable::Version);
    }
    if ![told, opted_out, agreement].iter().all(|letter| matches!(letter, b'Y' | b'N' | b'-')) {
        return Err(Unreadable::Value);
    }
    let out = opted_out == b'Y' || told == b'N';
    Ok(GppSection { id: US_PRIVACY, sale: out, sharing: out, ..GppSection::default() })
}

const US_PRIVACY: u16 = 6;
const US_NATIONAL: u16 = 7;

const ORIGIN: SensitiveData = SensitiveData::at(0);
const BELIEFS: SensitiveData = SensitiveData::at(1);
const HEALTH: SensitiveData = SensitiveData::at(2);
const SEX_LIFE: SensitiveData = SensitiveData::at(3);
const CITIZENSHIP: SensitiveData = SensitiveData::at(4);
const GENETIC: SensitiveData = SensitiveData::at(5);
const BIOMETRIC: SensitiveData = SensitiveData::at(6);
const PLACE: SensitiveData = SensitiveData::at(7);
const DOCUMENTS: SensitiveData = SensitiveData::at(8);
const ACCOUNTS: SensitiveData = SensitiveData::at(9);
const UNION: SensitiveData = SensitiveData::at(10);
const MAIL: SensitiveData = SensitiveData::at(11);
const CONSUMER_HEALTH: SensitiveData = SensitiveData::at(12);
const CRIME_VICTIM: SensitiveData = SensitiveData::at(13);
const NATIONAL_ORIGIN: SensitiveData = SensitiveData::at(14);
const TRANSGENDER: SensitiveData = SensitiveData::at(15);

/// What most states list, in their order.
const EIGHT: &[SensitiveData] = &[ORIGIN, BELIEFS, HEALTH, SEX_LIFE, CITIZENSHIP, GENETIC, BIOMETRIC, PLACE];

use Field::{Child, Consents, Covered, OptOut, OptOuts, Told, Unused};
use Topic::{Everything, Sale, Sensitive, Sharing, TargetedAdvertising};

/// A known child, in states that ask one thing only.
const CHILD: Field = Child(&[Everything]);
/// A known child; a sale and targeted advertising between 13 and 16.
const CHILD_TEENS: Field = Child(&[Everything, Sale, TargetedAdvertising]);
/// The same, and both again between 16 and 17 or 18.
const CHILD_TWO_AGES: Field = Child(&[Everything, Sale, TargetedAdvertising, Sale, TargetedAdvertising]);

const NATIONAL_2: &[Field] = &[
    Unused,
    Told(Sale),
    Told(Sharing),
    Told(TargetedAdvertising),
    Unused,
    Unused,
    OptOut(Sale),
    OptOut(Sharing),
    OptOut(TargetedAdvertising),
    Consents(&[
        ORIGIN,
        BELIEFS,
        HEALTH,
        SEX_LIFE,
        CITIZENSHIP,
        GENETIC,
        BIOMETRIC,
        PLACE,
        DOCUMENTS,
        ACCOUNTS,
        UNION,
        MAIL,
        CONSUMER_HEALTH,
        CRIME_VICTIM,
        NATIONAL_ORIGIN,
        TRANSGENDER,
    ]),
    Child(&[Everything, Everything, Everything]),
    Unused,
    Covered,
    Unused,
    Unused,
];

const NATIONAL_1: &[Field] = &[
    Unused,
    Told(Sale),
    Told(Sharing),
    Told(TargetedAdvertising),
    Unused,
    Unused,
    OptOut(Sale),
    OptOut(Sharing),
    OptOut(TargetedAdvertising),
    Consents(&[
        ORIGIN,
        BELIEFS,
        HEALTH,
        SEX_LIFE,
        CITIZENSHIP,
        GENETIC,
        BIOMETRIC,
        PLACE,
        DOCUMENTS,
        ACCOUNTS,
        UNION,
        MAIL,
    ]),
    Child(&[Everything, Everything]),
    Unused,
    Covered,
    Unused,
    Unused,
];

const CALIFORNIA: &[Field] = &[
    Told(Sale),
    Told(Sharing),
    Told(Sensitive),
    OptOut(Sale),
    OptOut(Sharing),
    OptOuts(&[
        DOCUMENTS,
        ACCOUNTS,
        PLACE,
        ORIGIN.with(BELIEFS).with(UNION),
        MAIL,
        GENETIC,
        BIOMETRIC,
        HEALTH,
        SEX_LIFE,
    ]),
    Child(&[Sale, Sharing]),
    Unused,
    Covered,
    Unused,
    Unused,
];

const UTAH: &[Field] = &[
    Unused,
    Told(Sale),
    Told(TargetedAdvertising),
    Told(Sensitive),
    OptOut(Sale),
    OptOut(TargetedAdvertising),
    OptOuts(&[ORIGIN, BELIEFS, SEX_LIFE, CITIZENSHIP, HEALTH, GENETIC, BIOMETRIC, PLACE]),
    CHILD,
    Covered,
    Unused,
    Unused,
];

const IOWA: &[Field] = &[
    Unused,
    Told(Sale),
    Told(TargetedAdvertising),
    Told(Sensitive),
    OptOut(Sale),
    OptOut(TargetedAdvertising),
    OptOuts(EIGHT),
    CHILD,
    Covered,
    Unused,
    Unused,
];

/// The form of the first states that demand consent to sensitive data.
macro_rules! early_state {
    ($sensitive:expr, $child:expr) => {
        &[
            Unused,
            Told(Sale),
            Told(TargetedAdvertising),
            OptOut(Sale),
            OptOut(TargetedAdvertising),
            Consents($sensitive),
            $child,
            Covered,
            Unused,
            Unused,
        ]
    };
}

/// The same with a field for processing beyond what was disclosed.
macro_rules! later_state {
    ($sensitive:expr, $child:expr) => {
        &[
            Unused,
            Told(Sale),
            Told(TargetedAdvertising),
            OptOut(Sale),
            OptOut(TargetedAdvertising),
            Consents($sensitive),
            $child,
            Unused,
            Covered,
            Unused,
            Unused,
        ]
    };
}

/// The form of 2025, in which the agreement comes first and sensitive data has a segment of its own.
const STATES_2025: &[Field] = &[
    Covered,
    Unused,
    Unused,
    Told(Sale),
    Told(TargetedAdvertising),
    OptOut(Sale),
    OptOut(TargetedAdvertising),
    CHILD,
    Unused,
];

const MARYLAND: &[Field] = &[
    Covered,
    Unused,
    Unused,
    Told(Sale),
    Told(TargetedAdvertising),
    OptOut(Sale),
    OptOut(TargetedAdvertising),
    Unused,
];

const SEVEN: &[SensitiveData] = &[ORIGIN, BELIEFS, HEALTH, SEX_LIFE, CITIZENSHIP, GENETIC, BIOMETRIC];
const OREGON: &[SensitiveData] = &[
    ORIGIN,
    BELIEFS,
    HEALTH,
    SEX_LIFE,
    TRANSGENDER,
    CITIZENSHIP,
    NATIONAL_ORIGIN,
    CRIME_VICTIM,
    GENETIC,
    BIOMETRIC,
    PLACE,
];
const DELAWARE: &[SensitiveData] =
    &[ORIGIN, BELIEFS, HEALTH, SEX_LIFE, CITIZENSHIP, GENETIC, BIOMETRIC, PLACE, TRANSGENDER];
const NEW_JERSEY: &[SensitiveData] =
    &[ORIGIN, BELIEFS, HEALTH, SEX_LIFE, CITIZENSHIP, GENETIC, BIOMETRIC, PLACE, TRANSGENDER, ACCOUNTS];

const fn first_version(id: u16, core: &'static [Field], second: Second) -> Layout {
    Layout { id, version: Some(1), core, second }
}

const fn of_2025(id: u16, core: &'static [Field], second: Second) -> Layout {
    Layout { id, version: None, core, second }
}

const LAYOUTS: &[Layout] = &[
    first_version(US_NATIONAL, NATIONAL_1, Second::Gpc),
    Layout { id: US_NATIONAL, version: Some(2), core: NATIONAL_2, second: Second::Gpc },
    first_version(8, CALIFORNIA, Second::Gpc),
    // Virginia.
    first_version(9, early_state!(EIGHT, CHILD), Second::Nothing),
    // Colorado.
    first_version(10, early_state!(SEVEN, CHILD), Second::Gpc),
    first_version(11, UTAH, Second::Nothing),
    // Connecticut.
    first_version(12, early_state!(EIGHT, CHILD_TEENS), Second::Gpc),
    // Florida: a child below 13, below 16, below 18.
    first_version(13, later_state!(EIGHT, Child(&[Everything, Everything, Everything])), Second::Nothing),
    // Montana.
    first_version(14, later_state!(EIGHT, CHILD_TEENS), Second::Gpc),
    first_version(15, later_state!(OREGON, CHILD_TEENS), Second::Gpc),
    // Texas.
    first_version(16, later_state!(EIGHT, CHILD), Second::Gpc),
    first_version(17, later_state!(DELAWARE, CHILD_TWO_AGES), Second::Gpc),
    first_version(18, IOWA, Second::Gpc),
    // Nebraska.
    first_version(19, later_state!(EIGHT, CHILD), Second::Gpc),
    // New Hampshire.
    first_version(20, later_state!(EIGHT, CHILD_TEENS), Second::Gpc),
    first_version(21, later_state!(NEW_JERSEY, CHILD_TWO_AGES), Second::Gpc),
    // Tennessee.
    first_version(22, later_state!(EIGHT, CHILD), Second::Gpc),
    // Minnesota.
    first_version(23, later_state!(EIGHT, CHILD), Second::Gpc),
    of_2025(24, MARYLAND, Second::Gpc),
    // Indiana, Kentucky, Rhode Island.
    of_2025(25, STATES_2025, Second::Consents(EIGHT)),
    of_2025(26, STATES_2025, Second::Consents(EIGHT)),
    of_2025(27, STATES_2025, Second::Consents(EIGHT)),
];
