//! Images: which ids can be launched. Whatever the id, what runs is the sandbox.

use crate::{Control, Error};

/// The id under which the sandbox is listed.
pub const SANDBOX_IMAGE: &str = "ami-0e51d5a4db0c00001";

/// Which image ids can be launched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Images {
    /// Any well-formed one: people bring configurations that name images of AWS.
    #[default]
    Any,
    /// Only the sandbox's own.
    Strict,
}

impl Control {
    /// Checks that an image id can be launched.
    pub fn check_image(&self, id: &str) -> Result<(), Error> {
        let digits = id.strip_prefix("ami-").unwrap_or_default();
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        // A long text is no help in a message.
        let image = || id.chars().take(100).collect::<String>().into();
        if !matches!(digits.len(), 8 | 17) || !digits.bytes().all(lower_hex) {
            return Err(Error::ImageMalformed { image: image() });
        }
        match self.images() {
            Images::Strict if id != SANDBOX_IMAGE => Err(Error::ImageNotFound { image: image() }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::control;

    #[test]
    fn strict_images_are_the_ones_that_are_listed() {
        let any = control();
        let other = "ami-0123456789abcdef0";
        assert_eq!(any.check_image(other), Ok(()));
        let malformed = any.check_image("ami-1");
        assert!(matches!(malformed, Err(Error::ImageMalformed { .. })));
        let strict = control().with_images(Images::Strict);
        assert_eq!(strict.check_image(SANDBOX_IMAGE), Ok(()));
        let unknown = strict.check_image(other);
        assert!(matches!(unknown, Err(Error::ImageNotFound { .. })));
    }
}
