//! Copies of packets: the pair that they go through, while mirror sessions or captures want any.

use enid_model::id::EniId;

use super::{Agent, AgentError, Verification};
use crate::capture::{Capture, CaptureError};
use crate::copies::CopyPair;
use crate::datapath::DatapathError;

impl Agent {
    /// Takes over the pair of an earlier agent, or notes that there is none.
    pub(super) fn adopt_copies(&mut self) -> Result<(), AgentError> {
        match CopyPair::find(self.installation).map_err(DatapathError::from)? {
            Some(pair) => self.use_copies(pair)?,
            None => self.datapath.detach_copies()?,
        }
        Ok(())
    }

    /// Makes the pair when the first copy is wanted: before the tables say so.
    pub(super) fn open_copies_if_wanted(&mut self) -> Result<(), DatapathError> {
        if self.copies.is_some() || !self.planner.is_watching() {
            return Ok(());
        }
        let pair = CopyPair::establish(self.installation)?;
        self.use_copies(pair)
    }

    /// Programs first, and only then the links.
    fn use_copies(&mut self, pair: CopyPair) -> Result<(), DatapathError> {
        self.datapath.attach_copies(pair)?;
        pair.connect()?;
        self.copies = Some(pair);
        Ok(())
    }

    /// Begins a capture: the buffers are there before the first packet comes.
    pub(super) fn capture(&mut self, eni: EniId, snaplen: u32) -> Result<Capture, CaptureError> {
        if self.planner.bound(eni).is_none() {
            return Err(CaptureError::NoDevice(eni));
        }
        let inbox = self.inbox.clone();
        let capture = self
            .captures
            .begin(self.datapath.pins(), eni, snaplen, inbox)?;
        // If it fails, the capture ends as any other, by being dropped.
        self.say_captured(eni)?;
        Ok(capture)
    }

    pub(super) fn end_capture(&mut self, id: u64) {
        let Some(eni) = self.captures.end(id) else {
            return;
        };
        if let Err(error) = self.say_captured(eni) {
            let error = crate::chain(&error);
            tracing::error!(%eni, error, "the end of a capture is not in the tables");
        }
    }

    /// Has the tables say how much of an interface's packets is wanted.
    fn say_captured(&mut self, eni: EniId) -> Result<(), DatapathError> {
        let diff = self.planner.capture(eni, self.captures.snaplen(eni));
        self.settle(&diff)
    }

    pub(super) fn verify_copies(&self, found: &mut Verification) {
        let Some(pair) = self.copies else {
            return;
        };
        match pair.verify(self.installation) {
            Ok(differences) => found.differences.extend(differences),
            Err(error) => found.differences.push(crate::chain(&error)),
        }
        if let Err(error) = self.datapath.verify_copies(pair) {
            found.differences.push(crate::chain(&error));
        }
    }
}
