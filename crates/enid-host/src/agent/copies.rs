//! Copies of packets: the pair that they go through, while mirror sessions or captures want any.

use super::{Agent, AgentError, Verification};
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
