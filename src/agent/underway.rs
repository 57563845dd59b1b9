//! What is on its way into targets, as the record will know it.
//!
//! While a staple is being written a newer answer may supersede it, and its bytes are then known no more.
//! What was written is said all the same: it lies there, and clients are handed it.

use std::collections::HashMap;

use crate::happening::Lying;
use crate::plan::{Content, TargetId};

/// What was last given to be written into each target, until the outcome is known.
#[derive(Debug, Default)]
pub(super) struct Underway(HashMap<TargetId, (Content, Lying)>);

impl Underway {
    /// A staple is given to be written.
    pub(super) fn begin(&mut self, target: TargetId, content: Content, lying: Lying) {
        self.0.insert(target, (content, lying));
    }

    /// What lies in a target now that this is written, where it was given here. A target gets one write at
    /// a time; where something else was written instead, the staple never lay there.
    pub(super) fn end(&mut self, target: TargetId, written: Option<Content>) -> Option<Lying> {
        let (content, lying) = self.0.remove(&target)?;
        (written == Some(content)).then_some(lying)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::plan::CertId;

    #[test]
    fn what_was_superseded_on_its_way_is_still_told() {
        let staple = Content::Staple(CertId(1), Digest::of(b"first"));
        let mut underway = Underway::default();
        underway.begin(TargetId(1), staple, Lying::Placeholder);
        assert_eq!(underway.end(TargetId(1), Some(staple)), Some(Lying::Placeholder));
        assert_eq!(underway.end(TargetId(1), Some(staple)), None, "it is over");
        underway.begin(TargetId(1), staple, Lying::Placeholder);
        assert_eq!(underway.end(TargetId(1), Some(Content::Nothing)), None);
        underway.begin(TargetId(2), staple, Lying::Placeholder);
        assert_eq!(underway.end(TargetId(2), None), None, "the write failed");
        assert!(underway.0.is_empty());
    }
}
