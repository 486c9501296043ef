//! What becomes of a delivery that was tried.

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The endpoint took it.
    Delivered,
    /// It may be taken another time.
    Failed(&'static str),
    /// It will not be taken another time either.
    Refused(&'static str),
}

impl Outcome {
    /// What an HTTP status means. AWS tries again what the server failed at, and what it was too busy
    /// for; what the server refuses for the request's own sake, it would refuse again.
    /// Source: the SNS Developer Guide, "Amazon SNS message delivery retries".
    #[must_use]
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered,
            429 => Self::Failed("the endpoint is too busy"),
            300..=499 => Self::Refused("the endpoint refused the request"),
            _ => Self::Failed("the endpoint failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_server_are_tried_again() {
        for status in [200, 204, 299] {
            assert_eq!(Outcome::of_status(status), Outcome::Delivered, "{status}");
        }
        for status in [101, 429, 500, 503, 599, 600] {
            let outcome = Outcome::of_status(status);
            assert!(matches!(outcome, Outcome::Failed(_)), "{status}");
        }
        for status in [301, 400, 403, 404] {
            let outcome = Outcome::of_status(status);
            assert!(matches!(outcome, Outcome::Refused(_)), "{status}");
        }
    }
}
