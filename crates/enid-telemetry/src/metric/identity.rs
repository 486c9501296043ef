//! What a metric is called: namespace, name and dimensions.

use enid_model::key::Scope;

/// A metric. Two with different dimensions are different metrics, whatever else they share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Such as `AWS/EC2`.
    pub namespace: String,
    /// Such as `NetworkIn`.
    pub name: String,
    /// Names and values, sorted, each name once.
    dimensions: Vec<(String, String)>,
}

/// Why dimensions are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dimension {0} is there twice")]
pub struct RepeatedDimension(pub String);

impl Identity {
    /// A metric with these dimensions, in any order.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        mut dimensions: Vec<(String, String)>,
    ) -> Result<Self, RepeatedDimension> {
        dimensions.sort();
        let twice = dimensions.windows(2).find_map(|pair| match pair {
            [(a, _), (b, _)] if a == b => Some(a.clone()),
            _ => None,
        });
        match twice {
            Some(name) => Err(RepeatedDimension(name)),
            None => Ok(Self {
                namespace: namespace.into(),
                name: name.into(),
                dimensions,
            }),
        }
    }

    /// The dimensions, sorted by name.
    #[must_use]
    pub fn dimensions(&self) -> &[(String, String)] {
        &self.dimensions
    }

    /// The value of a dimension.
    #[must_use]
    pub fn dimension(&self, name: &str) -> Option<&str> {
        let found = self.dimensions.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What the metric's datapoints are stored under. It tells scope and metric, so that nothing else needs
    /// to be stored of them; its shape must never change.
    #[must_use]
    pub fn key(&self, scope: &Scope) -> String {
        self.key_in(&scope.account.to_string(), scope.region.as_str())
    }

    /// The same for an account and a region by their names.
    #[must_use]
    pub fn key_in(&self, account: &str, region: &str) -> String {
        let mut parts = vec![
            account.to_owned(),
            region.to_owned(),
            self.namespace.clone(),
            self.name.clone(),
        ];
        for (name, value) in &self.dimensions {
            parts.extend([name.clone(), value.clone()]);
        }
        // Control characters are in no part: they are refused, and part the parts.
        parts.join("\u{1f}")
    }

    /// The metric of such a key, with its account and region.
    #[must_use]
    pub fn of_key(key: &str) -> Option<(&str, &str, Self)> {
        let mut parts = key.split('\u{1f}');
        let (account, region) = (parts.next()?, parts.next()?);
        let (namespace, name) = (parts.next()?, parts.next()?);
        let rest: Vec<&str> = parts.collect();
        let dimensions = rest.chunks(2).map(|pair| match pair {
            [name, value] => Some(((*name).to_owned(), (*value).to_owned())),
            _ => None,
        });
        let metric = Self::new(namespace, name, dimensions.collect::<Option<_>>()?).ok()?;
        Some((account, region, metric))
    }
}

#[cfg(test)]
mod tests {
    use enid_model::key::{AccountId, RegionName};

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_order_of_dimensions_does_not_count() {
        let one = Identity::new("N", "m", pairs(&[("b", "2"), ("a", "1")])).unwrap();
        let other = Identity::new("N", "m", pairs(&[("a", "1"), ("b", "2")])).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.dimension("b"), Some("2"));
        let twice = Identity::new("N", "m", pairs(&[("a", "1"), ("a", "2")]));
        assert_eq!(twice, Err(RepeatedDimension("a".to_owned())));
    }

    #[test]
    fn a_key_tells_its_metric() {
        let scope = Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        };
        for dimensions in [pairs(&[]), pairs(&[("a b", "c/d"), ("e", "")])] {
            let metric = Identity::new("N/S", "m", dimensions).unwrap();
            let key = metric.key(&scope);
            let (account, region, read) = Identity::of_key(&key).unwrap();
            assert_eq!((account, region), ("123456789012", "eu-west-1"));
            assert_eq!(read, metric);
        }
        assert_eq!(Identity::of_key("1\u{1f}r\u{1f}n\u{1f}m\u{1f}odd"), None);
        assert_eq!(Identity::of_key("1"), None);
    }
}
