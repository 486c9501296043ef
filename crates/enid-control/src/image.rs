//! Images: which ids can be launched.

use enid_model::image::Driver;

use crate::{Control, Error};

/// Which image ids can be launched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Images {
    /// Any well-formed one: people bring configurations that name images of AWS.
    #[default]
    Any,
    /// Only those that are listed.
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
        let is_listed = Driver::of_image(id).image() == id;
        match self.images() {
            Images::Strict if !is_listed => Err(Error::ImageNotFound { image: image() }),
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
        for driver in Driver::ALL {
            assert_eq!(strict.check_image(driver.image()), Ok(()));
        }
        let unknown = strict.check_image(other);
        assert!(matches!(unknown, Err(Error::ImageNotFound { .. })));
    }
}
