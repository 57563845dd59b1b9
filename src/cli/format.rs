//! The ways to print that commands share: words for people, or one JSON document.

/// How an answer is printed. Commands that print tables have words of their own for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}
