//! Dashboards of CloudWatch. Those of an account are the same in all regions, so they are kept in one: the
//! first of its partition.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dashboard {
    /// What it shows: JSON, as it was given.
    pub body: String,
    /// When it was put last.
    pub modified: Timestamp,
}

impl Dashboard {
    /// The region that a partition's dashboards are kept in.
    #[must_use]
    pub fn home(partition: &str) -> &'static str {
        match partition {
            "aws-cn" => "cn-north-1",
            "aws-us-gov" => "us-gov-west-1",
            _ => "us-east-1",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Region;

    #[test]
    fn every_partition_has_a_home() {
        for partition in ["aws", "aws-cn", "aws-us-gov"] {
            if let Some(home) = Region::named(Dashboard::home(partition)) {
                assert_eq!(home.partition(), partition);
            }
        }
        assert!(Region::named(Dashboard::home("aws")).is_some());
    }
}
