//! What the figures mean, in the words that are printed with them.

/// Each figure with its definition.
pub const DEFINITIONS: &[(&str, &str)] = &[
    (
        "consent",
        "what one subject says about one purpose, over one channel, to one recipient, on the ground of consent or explicit \
         consent",
    ),
    ("asked", "requests that were recorded; whoever records none has asked all the same"),
    ("given", "consents that were given, but for void ones"),
    (
        "void",
        "consents that were given, and are void by how they were collected: pre-ticked, bundled, coerced and the like",
    ),
    ("renewed", "consents that were given again; no part of the opt-in rate"),
    ("refused", "refusals of those who were asked"),
    ("withdrawn", "consents that the subject took back"),
    ("objected", "objections to a legitimate interest; no part of any rate"),
    ("revoked", "consents that somebody else took away or found to be invalid"),
    ("opt-in rate", "given / (given + refused)"),
    ("withdrawal rate", "withdrawn / (consents standing at the beginning + given); in the table, `leaving`"),
    (
        "standing",
        "consents in force at the end: given or renewed, not void, not past their own end, and not followed by a refusal of \
         the purpose or one above it, over the channel or all. A catalogue's maximum age is not looked at",
    ),
    (
        "period",
        "what happened belongs to the period in which it happened, however late it came; what came twice is counted once; \
         what an erasure covers is not counted",
    ),
    ("too few", "fewer subjects than the report was asked for had ever spoken of the purpose over the channel by then"),
];
