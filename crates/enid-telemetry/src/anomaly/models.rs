//! Models that were trained lately. A cache: what is not in it is trained again from the same data.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Model, Settings};

/// How many models are kept: a bound of memory. When there are more, all are forgotten.
const MODELS_MAX: usize = 2_000;

/// What a model is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Of {
    /// Account and region.
    pub scope: (String, String),
    /// The name of what it learns.
    pub name: String,
    pub settings: Settings,
    pub period_s: i64,
}

/// Trained models, each with the time up to which it has learned.
#[derive(Default)]
pub struct Models(Mutex<HashMap<Of, (i64, Arc<Model>)>>);

impl Models {
    /// The model, if it has learned up to this time.
    pub(super) fn get(&self, of: &Of, until_ms: i64) -> Option<Arc<Model>> {
        let models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, model) = models.get(of)?;
        (*until == until_ms).then(|| Arc::clone(model))
    }

    pub(super) fn put(&self, of: Of, until_ms: i64, model: Arc<Model>) {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if models.len() >= MODELS_MAX && !models.contains_key(&of) {
            models.clear();
        }
        models.insert(of, (until_ms, model));
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        models.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_model_of_another_time_is_none() {
        let models = Models::default();
        let of = |name: usize| Of {
            scope: ("a".to_owned(), "r".to_owned()),
            name: name.to_string(),
            settings: Settings::default(),
            period_s: 60,
        };
        let settings = Settings::default();
        let model = Arc::new(Model::train(&BTreeMap::new(), 60, &settings));
        models.put(of(0), 5, Arc::clone(&model));
        assert!(models.get(&of(0), 5).is_some());
        assert!(models.get(&of(0), 6).is_none() && models.get(&of(1), 5).is_none());
        for name in 1..=MODELS_MAX {
            models.put(of(name), 5, Arc::clone(&model));
        }
        assert!(models.get(&of(0), 5).is_none() && models.get(&of(MODELS_MAX), 5).is_some());
    }
}
