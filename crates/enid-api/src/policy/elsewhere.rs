//! What a request of a service other than EC2 is about, for the policy of its key.

/// What a policy may ask of a request beyond what all requests have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The ARNs of the resources that it names; none if it is about everything.
    pub resources: Vec<String>,
    /// Values of condition keys, which are in lower case.
    pub facts: Vec<(&'static str, String)>,
}

impl Asked {
    /// A request about these resources.
    #[must_use]
    pub fn about(resources: impl IntoIterator<Item = String>) -> Self {
        Self {
            resources: resources.into_iter().collect(),
            facts: Vec::new(),
        }
    }
}
