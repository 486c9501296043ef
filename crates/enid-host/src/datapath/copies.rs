//! The programs on the pair of links that copies go through.

use enid_pipeline::table::Config;

use super::links::unpin;
use super::{Datapath, DatapathError};
use crate::copies::CopyPair;
use crate::loader::{self, LINK_COPY, LINK_GUARD, LINK_MIRRORED, Pins};
use crate::maps::Hook;

/// Names of the links or filters on the pair; what follows the hyphen says which program it is.
const TIES: [(&str, &str, Hook, End); 3] = [
    ("copies-copy", LINK_COPY, Hook::Egress, End::Near),
    ("copies-mirrored", LINK_MIRRORED, Hook::Ingress, End::Far),
    // What the host's own stack would send back.
    ("copies-guard", LINK_GUARD, Hook::Egress, End::Far),
];

/// An end of the pair.
#[derive(Clone, Copy)]
enum End {
    Near,
    Far,
}

impl End {
    const fn index(self, pair: CopyPair) -> u32 {
        match self {
            Self::Near => pair.near,
            Self::Far => pair.far,
        }
    }
}

impl Datapath {
    /// Puts the programs on the pair, or adopts them there, and lets copies be made.
    pub fn attach_copies(&mut self, pair: CopyPair) -> Result<(), DatapathError> {
        for (name, kind, hook, end) in TIES {
            let program = self.programs.of_kind(kind);
            let program = program.ok_or(DatapathError::CopiesNotAttached)?;
            self.tie(name, program, hook, end.index(pair))?;
        }
        for layout in loader::other_layouts(self.installation)? {
            for (name, ..) in TIES {
                unpin(&layout.links().join(name))?;
            }
            super::links::remove_if_unused(&layout)?;
        }
        self.set_copies(pair.near)
    }

    /// Makes no copies any more, and forgets the links on the pair, which is gone.
    pub fn detach_copies(&mut self) -> Result<(), DatapathError> {
        self.set_copies(0)?;
        for (name, ..) in TIES {
            unpin(&self.pins.links().join(name))?;
        }
        Ok(())
    }

    /// Whether the programs are on the pair, and copies are made.
    pub fn verify_copies(&self, pair: CopyPair) -> Result<(), DatapathError> {
        for (name, kind, hook, end) in TIES {
            let program = self.programs.of_kind(kind);
            let program = program.ok_or(DatapathError::CopiesNotAttached)?;
            if !self.is_tied(name, program, hook, end.index(pair))? {
                return Err(DatapathError::CopiesNotAttached);
            }
        }
        let config = self.config()?;
        if config.copies == pair.near {
            Ok(())
        } else {
            Err(DatapathError::CopiesNotAttached)
        }
    }

    fn set_copies(&self, copies: u32) -> Result<(), DatapathError> {
        let config = Config {
            copies,
            ..self.config()?
        };
        let written = self.config.map.put(&0, &config);
        written.map_err(self.config.failed("write"))
    }

    fn config(&self) -> Result<Config, DatapathError> {
        let config = self.config.map.lookup(&0);
        let config = config.map_err(self.config.failed("read"))?;
        Ok(config.unwrap_or_default())
    }

    /// The pins of this datapath, for whoever reads what captures are told.
    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }
}
