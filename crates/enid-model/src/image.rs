//! Images: what an instance is, on its host.
//!
//! An image has no content here. Its id says which driver makes the instance: Enid lists one image for
//! each, and every other well-formed id stands for the sandbox, because people bring configurations
//! that name images of AWS.

/// What makes and ends an instance on its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Driver {
    /// A network namespace that somebody else makes, such as a container's, which the instance's
    /// interfaces are put into when it is adopted.
    Namespace,
    /// Processes in namespaces over the host's own root filesystem.
    #[default]
    Sandbox,
    /// A virtual machine that somebody else runs; each interface is a tap.
    Tap,
}

/// The id under which the sandbox is listed.
pub const SANDBOX_IMAGE: &str = "ami-0e51d5a4db0c00001";

/// The id of instances whose namespace is adopted.
pub const NAMESPACE_IMAGE: &str = "ami-0e51d5a4db0c00002";

/// The id of instances whose interfaces are taps.
pub const TAP_IMAGE: &str = "ami-0e51d5a4db0c00003";

impl Driver {
    /// Every driver, in the order of their images' ids.
    pub const ALL: [Self; 3] = [Self::Sandbox, Self::Namespace, Self::Tap];

    /// The driver of the instances of an image.
    #[must_use]
    pub fn of_image(id: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|driver| driver.image() == id).unwrap_or_default()
    }

    /// The image that is listed for the driver.
    #[must_use]
    pub fn image(self) -> &'static str {
        match self {
            Self::Namespace => NAMESPACE_IMAGE,
            Self::Sandbox => SANDBOX_IMAGE,
            Self::Tap => TAP_IMAGE,
        }
    }

    /// Whether what runs in the instance is somebody else's: Enid has its interfaces only.
    #[must_use]
    pub fn is_foreign(self) -> bool {
        self != Self::Sandbox
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_images_have_drivers_of_their_own() {
        for driver in Driver::ALL {
            assert_eq!(Driver::of_image(driver.image()), driver);
        }
        assert_eq!(Driver::of_image("ami-0123456789abcdef0"), Driver::Sandbox);
        assert!(!Driver::Sandbox.is_foreign());
    }
}
