//! The layers of a sandbox's root filesystem: what of it outlives the sandbox's processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use super::{Sandbox, SandboxError, directory_error, make_dirs, rootfs};

impl Sandbox {
    /// Puts the layers into memory: the host's filesystem refuses to be an overlay's upper one, as
    /// another overlay does. The mount is the host's, so that a stop does not lose them.
    pub(super) fn make_scratch(&self) -> Result<(), SandboxError> {
        let scratch = self.scratch_dir();
        make_dirs(&scratch)?;
        self.make_layers()
    }

    pub(super) fn make_layers(&self) -> Result<(), SandboxError> {
        let scratch = self.scratch_dir();
        if scratch.exists() && !is_mount_point(&scratch) {
            rustix::mount::mount(
                "enid",
                &scratch,
                "tmpfs",
                MountFlags::NODEV,
                Some(c"mode=700"),
            )
            .map_err(|e| directory_error(&scratch)(e.into()))?;
        }
        let layers = self.layers_dir();
        for name in ["upper", "work", rootfs::ROOT_DIR] {
            make_dirs(&layers.join(name))?;
        }
        // The upper directory is the sandbox's root directory: all its users look into it.
        let upper = layers.join("upper");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&upper, mode).map_err(directory_error(&upper))
    }

    pub(super) fn remove_scratch(&self) -> Result<(), SandboxError> {
        let scratch = self.scratch_dir();
        while is_mount_point(&scratch) {
            rustix::mount::unmount(&scratch, UnmountFlags::DETACH)
                .map_err(|e| directory_error(&scratch)(e.into()))?;
        }
        Ok(())
    }

    pub(super) fn layers_dir(&self) -> PathBuf {
        let scratch = self.scratch_dir();
        if scratch.exists() {
            scratch
        } else {
            self.dir.clone()
        }
    }

    pub(super) fn scratch_dir(&self) -> PathBuf {
        self.dir.join("scratch")
    }
}

/// A mount point is on another filesystem than its parent, as far as the mounts here go.
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    let parent = path.parent().and_then(device);
    device(path).is_some_and(|own| Some(own) != parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_recognised() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(Path::new("/proc/sys")));
        assert!(!is_mount_point(Path::new("/no such path")));
    }
}
