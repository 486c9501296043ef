//! The engine that keeps nothing: the view in memory is all there is.

use enid_model::state::Revision;

use crate::{Engine, EngineError, Row, Source, Write};

#[derive(Debug, Default)]
pub(crate) struct Memory;

impl Source for Memory {
    fn load(&mut self, _: &mut dyn FnMut(Vec<Row>)) -> Result<Revision, EngineError> {
        Ok(Revision::default())
    }
}

impl Engine for Memory {
    fn is_slow(&self) -> bool {
        false
    }

    fn write(&mut self, _: Revision, _: &[Write]) -> Result<(), EngineError> {
        Ok(())
    }

    fn clear(&mut self, _: Revision) -> Result<(), EngineError> {
        Ok(())
    }
}
