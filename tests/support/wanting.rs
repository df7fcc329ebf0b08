//! Tests that the machine lacks something for. They fail, unless whoever runs them has said that they may be left out: what
//! was not tried must not look as if it had passed.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::io::Write as _;

/// What may be left out: `1` is everything, else words of [`Want`], with commas between them.
const MAY_LEAVE_OUT: &str = "TESTS_MAY_LEAVE_OUT";

/// What a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    ControlGroups,
    Browser,
    Prometheus,
    Ipv6,
    OuterAddress,
}

impl Want {
    /// The word by which it may be left out.
    const fn word(self) -> &'static str {
        match self {
            Self::ControlGroups => "control-groups",
            Self::Browser => "browser",
            Self::Prometheus => "prometheus",
            Self::Ipv6 => "ipv6",
            Self::OuterAddress => "outer-address",
        }
    }

    /// Says that what needs this is left out, and why; fails where it must not be.
    pub(crate) fn leave_out(self, why: &str) {
        let word = self.word();
        let allowed = std::env::var(MAY_LEAVE_OUT).unwrap_or_default();
        assert!(
            may(self, &allowed),
            "not tried for want of {word}: {why}; with {MAY_LEAVE_OUT}={word} it is left out instead"
        );
        // Not by a macro, whose output is only shown where a test fails: it is to be seen.
        let told = format!("a test was LEFT OUT, for want of {word}: {why}\n");
        let _ = std::io::stderr().write_all(told.as_bytes());
    }
}

fn may(want: Want, allowed: &str) -> bool {
    allowed.split(',').map(str::trim).any(|word| word == "1" || word == want.word())
}

#[test]
fn only_what_may_be_left_out_is() {
    for (allowed, may_be) in [
        ("", [false, false]),
        ("0", [false, false]),
        ("1", [true, true]),
        ("browser", [true, false]),
        ("ipv6, browser", [true, true]),
        ("browsers", [false, false]),
    ] {
        assert_eq!([Want::Browser, Want::Ipv6].map(|want| may(want, allowed)), may_be, "`{allowed}`");
    }
}
