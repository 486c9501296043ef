//! Pages of Describe operations.
//!
//! A token names the last resource of its page, not a position: what is created or deleted between
//! two pages neither repeats nor hides anything else. Resources are listed in the order of their
//! keys.

use std::collections::BinaryHeap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::error::ApiError;
use crate::wire::params::{from_base64, to_base64};
use crate::wire::text::Text;

/// What most operations permit as `MaxResults`.
pub const USUAL: RangeInclusive<i32> = 5..=1000;

/// Which page of an answer is asked for.
#[derive(Debug)]
pub struct Page {
    operation: &'static str,
    /// Resources on a page; without a limit the answer is one page.
    size: Option<usize>,
    /// The key of the last resource of the page before.
    after: Option<String>,
}

impl Page {
    /// Reads the parameters. `ids` names the parameter with ids if the request has any: pages and
    /// ids exclude one another.
    pub fn read(
        operation: &'static str,
        permitted: RangeInclusive<i32>,
        max_results: Option<i32>,
        next_token: Option<&str>,
        ids: Option<&str>,
    ) -> Result<Self, ApiError> {
        if let (Some(ids), true) = (ids, max_results.is_some() || next_token.is_some()) {
            let pages = if max_results.is_some() {
                "maxResults"
            } else {
                "nextToken"
            };
            return Err(ApiError::invalid_combination(&format!(
                "The parameter {ids} cannot be used with the parameter {pages}"
            )));
        }
        let size = max_results
            .map(|size| check(size, &permitted))
            .transpose()?;
        let after = next_token.map(|token| open(operation, token)).transpose()?;
        Ok(Self {
            operation,
            size,
            after,
        })
    }

    /// The key of the last resource of the page before: this page starts behind it.
    pub fn after<K: FromStr>(&self) -> Result<Option<K>, ApiError> {
        let Some(after) = &self.after else {
            return Ok(None);
        };
        // A token of another kind of resource, or one that was made up.
        after.parse().ok().map(Some).ok_or_else(invalid_token)
    }

    /// Of resources in any order, those that this page and the question whether there is another one
    /// need, in order. The rest is not sorted.
    pub fn first<T: Ord>(&self, resources: impl Iterator<Item = T>) -> Vec<T> {
        let Some(size) = self.size else {
            let mut all: Vec<T> = resources.collect();
            all.sort_unstable();
            return all;
        };
        let mut first = BinaryHeap::with_capacity(size + 2);
        for resource in resources {
            if first.len() <= size {
                first.push(resource);
            } else if let Some(mut largest) = first.peek_mut()
                && resource < *largest
            {
                *largest = resource;
            }
        }
        first.into_sorted_vec()
    }

    /// Takes the page from what comes behind [`after`](Self::after), and makes the token of the
    /// next one if anything is left.
    pub fn take<T>(
        &self,
        mut resources: impl Iterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<Text>) {
        let Some(size) = self.size else {
            return (resources.collect(), None);
        };
        let page: Vec<T> = resources.by_ref().take(size).collect();
        let last = page.last().map(&key);
        let token = match (last, resources.next()) {
            (Some(last), Some(_)) => Some(close(self.operation, &last).into()),
            _ => None,
        };
        (page, token)
    }
}

fn check(size: i32, permitted: &RangeInclusive<i32>) -> Result<usize, ApiError> {
    let told = |relation: &str, limit: &i32| {
        let message = format!(
            "Value ( {size} ) for parameter maxResults is invalid. Expecting a value {relation} than or equal to {limit}."
        );
        Err(ApiError::new("InvalidParameterValue", 400, message))
    };
    if size < *permitted.start() {
        return told("greater", permitted.start());
    }
    if size > *permitted.end() {
        return told("less", permitted.end());
    }
    usize::try_from(size).or_else(|_| told("greater", &0))
}

fn close(operation: &str, key: &str) -> String {
    to_base64(format!("{operation} {key}").as_bytes())
}

fn open(operation: &str, token: &str) -> Result<String, ApiError> {
    from_base64(token)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| {
            let (of, key) = text.split_once(' ')?;
            (of == operation).then(|| key.to_owned())
        })
        .ok_or_else(invalid_token)
}

fn invalid_token() -> ApiError {
    ApiError::new(
        "InvalidNextToken",
        400,
        "The specified nextToken is not valid.".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(max: Option<i32>, token: Option<&str>, ids: Option<&str>) -> Result<Page, ApiError> {
        Page::read("DescribeX", USUAL, max, token, ids)
    }

    #[test]
    fn pages_go_through_everything_once() {
        let mut all: Vec<i32> = (0..23).collect();
        let mut seen = Vec::new();
        let mut token: Option<Text> = None;
        loop {
            let page = page(Some(5), token.as_deref(), None).unwrap();
            let after: Option<i32> = page.after().unwrap();
            let rest = all
                .iter()
                .copied()
                .filter(|item| after.is_none_or(|after| *item > after));
            let (items, next) = page.take(rest, i32::to_string);
            // What is deleted behind the page changes nothing before it.
            all.retain(|item| *item != items[4 % items.len()]);
            seen.extend(items);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..23).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_page_needs_is_put_in_order() {
        let of = |size, count| {
            let shuffled = (0..count).map(move |n: i32| n * 7 % count);
            page(size, None, None).unwrap().first(shuffled)
        };
        assert_eq!(of(Some(5), 23), [0, 1, 2, 3, 4, 5]);
        assert_eq!(of(Some(5), 3), [0, 1, 2]);
        assert_eq!(of(None, 23), (0..23).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_page_has_no_token() {
        let page = page(Some(5), None, None).unwrap();
        assert_eq!(page.take(0..5, i32::to_string), ((0..5).collect(), None));
        assert!(page.take(0..6, i32::to_string).1.is_some());
        assert_eq!(page.take(0..0, i32::to_string), (Vec::new(), None));
    }

    #[test]
    fn limits_and_combinations_are_told() {
        let code = |page: Result<Page, ApiError>| page.unwrap_err().code().to_owned();
        assert_eq!(
            page(Some(2), None, None).unwrap_err().message(),
            "Value ( 2 ) for parameter maxResults is invalid. Expecting a value greater than or equal to 5."
        );
        assert_eq!(code(page(Some(1001), None, None)), "InvalidParameterValue");
        assert_eq!(
            code(page(Some(5), None, Some("vpcIds"))),
            "InvalidParameterCombination"
        );
        assert_eq!(
            code(page(None, Some("x"), Some("vpcIds"))),
            "InvalidParameterCombination"
        );
        assert!(page(None, None, Some("vpcIds")).is_ok());
    }

    #[test]
    fn made_up_tokens_are_refused() {
        let other = close("DescribeY", "1");
        for token in ["", "x", "AAAA", other.as_str()] {
            assert_eq!(
                page(None, Some(token), None).unwrap_err().code(),
                "InvalidNextToken"
            );
        }
        let own = close("DescribeX", "no number");
        let page = page(None, Some(&own), None).unwrap();
        assert_eq!(page.after::<i32>().unwrap_err().code(), "InvalidNextToken");
    }
}
