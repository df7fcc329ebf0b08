//! `consentd bench …`: how fast a sidecar answers, measured from outside, and what it is compared with.
//!
//! The client runs beside the server, mostly on the same processors, so it must cost little: requests are encoded before
//! the clock starts, sent as bytes, and of responses only verdicts, reasons and the presence of evidence are read.

mod check;
mod children;
mod compare;
mod drive;
mod ledger;
mod load;
mod null;
mod pace;
mod processor_time;
mod report;
mod run;
mod subjects;
mod tally;
mod wire;
mod withdraw;

use clap::Subcommand;

use super::{Failure, Outcome};

/// Measure how fast a sidecar answers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Null(null::Args),
    Compare(compare::Args),
    Ledger(ledger::Args),
    Withdraw(withdraw::Args),
}

/// Runs the command.
pub(super) fn run(args: Args) -> Outcome {
    match args.command {
        Command::Run(args) => run::run(&args),
        Command::Null(args) => null::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Ledger(args) => ledger::run(&args),
        Command::Withdraw(args) => withdraw::run(&args),
    }
}

/// A whole number with a comma after every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count as a floating-point number: exact below 2^53, which no run reaches.
#[allow(clippy::cast_precision_loss, reason = "exact below 2^53, which no count of a run reaches")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

/// A rate or a time without its fraction.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and what is shown is neither negative nor near the limit"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
