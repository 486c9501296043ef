//! Programs and maps of the datapath: loaded once, pinned, and adopted by every later agent.
//!
//! ```text
//! /sys/fs/bpf/enid/<installation>/<layout>/
//!     maps/<name>
//!     programs/<text>/enid_{copy,egress,host_guard,mirrored,outside,release,service,tap_egress,tap_guard}
//!     links/{<eni>-{egress,guard,tap_egress,tap_guard},copies-{copy,guard,mirrored},gateway-outside}
//! ```
//!
//! Where the kernel has no tcx there are no links: filters hold the programs on their devices, see
//! `datapath/filters.rs`.
//! The links of devices that lead to link-local services are not pinned: those devices go with the agent.
//!
//! `<layout>` is a hash of the sizes and limits of all maps: a changed layout is a new directory, never
//! a misread map. `<text>` is a hash of the object: a changed program is loaded beside the old one and
//! put behind the links that are there, each packet meeting the one or the other.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::{ProgramError, SchedClassifier};
use aya::{EbpfError, EbpfLoader};
use enid_pipeline::table::LAYOUT;
use sha2::{Digest as _, Sha256};

use crate::btf::{BtfError, SumLayout};
use crate::doctor::BPF_PATH;
use crate::{Installation, maps};

/// The object that `cargo xtask ebpf` built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ENID_BPF_OBJECT"));

/// Copies of packets meet this program.
const COPY: &str = "enid_copy";
/// What leaves an ENI meets this one.
const EGRESS: &str = "enid_egress";
/// What the host sends to an ENI meets this one.
const GUARD: &str = "enid_host_guard";

/// What mirror sessions send meets this one.
const MIRRORED: &str = "enid_mirrored";
/// What comes from the outside meets this one.
const OUTSIDE: &str = "enid_outside";
/// The agent runs this one itself.
const RELEASE: &str = "enid_release";

/// What comes from link-local services meets this one.
const SERVICE: &str = "enid_service";

/// What leaves an ENI by a tap.
const TAP_EGRESS: &str = "enid_tap_egress";
/// What is about to leave the host by a tap.
const TAP_GUARD: &str = "enid_tap_guard";

/// Where a program finds unfinished checksums.
const SUM_LAYOUT: &str = "SUM_LAYOUT";

/// Why programs and maps cannot be loaded or adopted.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A directory or pin below the bpf filesystem.
    #[error("{action} {}", path.display())]
    Pin {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// The kernel refuses a map or the object.
    #[error("load the kernel program's object")]
    Object(#[source] Box<EbpfError>),
    /// The kernel's verifier refuses a program.
    #[error("load the kernel program {name}")]
    Program {
        /// Its name.
        name: &'static str,
        /// How it failed.
        source: Box<ProgramError>,
    },
    /// The object lacks a program.
    #[error("the object has no program {0}")]
    Missing(&'static str),
    /// The kernel's description of its types does not tell what programs need.
    #[error("find what programs need in the kernel's structures")]
    Types(#[from] BtfError),
    /// Nothing is loaded for this installation.
    #[error("no datapath is loaded here ({} is missing)", .0.display())]
    NotLoaded(PathBuf),
}

impl LoadError {
    fn pin(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Pin {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// The directory below which an installation pins everything.
#[must_use]
pub fn pin_root(installation: Installation) -> PathBuf {
    Path::new(BPF_PATH)
        .join("enid")
        .join(installation.to_string())
}

/// Where things of the present layout are pinned.
#[derive(Clone, Debug)]
pub(crate) struct Pins(PathBuf);

impl Pins {
    /// The pins of an installation, whether they are there or not.
    pub(crate) fn of(installation: Installation) -> Self {
        Self(pin_root(installation).join(hex(&layout_hash())))
    }

    /// The same, if the maps are there.
    pub(crate) fn existing(installation: Installation) -> Result<Self, LoadError> {
        let pins = Self::of(installation);
        if pins.map("flows").exists() {
            Ok(pins)
        } else {
            Err(LoadError::NotLoaded(pins.0))
        }
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.0.join("maps").join(name)
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.0.join("links")
    }

    fn programs(&self) -> PathBuf {
        self.0.join("programs")
    }
}

/// The programs that are attached to devices.
#[derive(Debug)]
pub(crate) struct Programs {
    copy: OwnedFd,
    egress: OwnedFd,
    guard: OwnedFd,
    mirrored: OwnedFd,
    outside: OwnedFd,
    release: OwnedFd,
    service: OwnedFd,
    tap_egress: OwnedFd,
    tap_guard: OwnedFd,
}

impl Programs {
    /// The program for what leaves the ENI.
    pub(crate) fn egress(&self) -> BorrowedFd<'_> {
        self.egress.as_fd()
    }

    /// The program for what the host sends.
    pub(crate) fn guard(&self) -> BorrowedFd<'_> {
        self.guard.as_fd()
    }

    /// The program for what comes from the outside.
    pub(crate) fn outside(&self) -> BorrowedFd<'_> {
        self.outside.as_fd()
    }

    /// The program that goes with the end of a link's or filter's name.
    pub(crate) fn of_kind(&self, kind: &str) -> Option<BorrowedFd<'_>> {
        match kind {
            LINK_COPY => Some(self.copy.as_fd()),
            LINK_EGRESS => Some(self.egress()),
            LINK_GUARD => Some(self.guard()),
            LINK_MIRRORED => Some(self.mirrored.as_fd()),
            LINK_OUTSIDE => Some(self.outside()),
            LINK_TAP_EGRESS => Some(self.tap_egress()),
            LINK_TAP_GUARD => Some(self.tap_guard()),
            _ => None,
        }
    }

    /// The program for what comes from link-local services.
    pub(crate) fn service(&self) -> BorrowedFd<'_> {
        self.service.as_fd()
    }

    /// The program that removes flow entries which hold a port of a NAT gateway.
    pub(crate) fn release(&self) -> BorrowedFd<'_> {
        self.release.as_fd()
    }

    /// The program for what leaves an ENI by a tap.
    pub(crate) fn tap_egress(&self) -> BorrowedFd<'_> {
        self.tap_egress.as_fd()
    }

    /// The program for what the host sends to a tap, and for what is delivered there.
    pub(crate) fn tap_guard(&self) -> BorrowedFd<'_> {
        self.tap_guard.as_fd()
    }

    fn open(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            copy: maps::open_pin(&directory.join(COPY))?,
            egress: maps::open_pin(&directory.join(EGRESS))?,
            guard: maps::open_pin(&directory.join(GUARD))?,
            mirrored: maps::open_pin(&directory.join(MIRRORED))?,
            outside: maps::open_pin(&directory.join(OUTSIDE))?,
            release: maps::open_pin(&directory.join(RELEASE))?,
            service: maps::open_pin(&directory.join(SERVICE))?,
            tap_egress: maps::open_pin(&directory.join(TAP_EGRESS))?,
            tap_guard: maps::open_pin(&directory.join(TAP_GUARD))?,
        })
    }
}

/// Adopts what is pinned, or loads and pins it. A flow table that is there keeps its size.
pub(crate) fn load(pins: &Pins, flow_entries_max: u32) -> Result<Programs, LoadError> {
    let maps = pins.0.join("maps");
    let text = pins.programs().join(hex(&Sha256::digest(OBJECT)));
    for directory in [&maps, &text, &pins.links()] {
        make_dir(directory).map_err(|error| LoadError::pin("create", directory, error))?;
    }
    let programs = match Programs::open(&text) {
        Ok(programs) => programs,
        Err(_) => load_object(&maps, &text, flow_entries_max)?,
    };
    replace_behind_links(pins, &programs)?;
    remove_other_texts(pins, &text)?;
    Ok(programs)
}

fn load_object(maps: &Path, text: &Path, flow_entries_max: u32) -> Result<Programs, LoadError> {
    let sum_layout = SumLayout::of_kernel()?.words();
    let mut object = EbpfLoader::new()
        .override_global(SUM_LAYOUT, &sum_layout, true)
        .default_map_pin_directory(maps)
        .map_max_entries("flows", flow_entries_max)
        .load(OBJECT)
        .map_err(|error| LoadError::Object(Box::new(error)))?;
    for name in [
        COPY, EGRESS, GUARD, MIRRORED, OUTSIDE, RELEASE, SERVICE, TAP_EGRESS, TAP_GUARD,
    ] {
        let program = object.program_mut(name).ok_or(LoadError::Missing(name))?;
        let failed = |source| LoadError::Program {
            name,
            source: Box::new(source),
        };
        let program: &mut SchedClassifier = program.try_into().map_err(failed)?;
        program.load().map_err(failed)?;
        let path = text.join(name);
        // A pin that was left by an agent that ended half way.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LoadError::pin("remove", &path, error));
            }
            _ => {}
        }
        let fd = program.fd().map_err(failed)?;
        maps::pin(fd.as_fd(), &path).map_err(|error| LoadError::pin("pin", &path, error))?;
    }
    Programs::open(text).map_err(|error| LoadError::pin("open", text, error))
}

/// Puts the programs behind all links that are pinned.
fn replace_behind_links(pins: &Pins, programs: &Programs) -> Result<(), LoadError> {
    for path in entries(&pins.links())? {
        let name = path.file_name().and_then(|name| name.to_str());
        let kind = name.and_then(|name| name.rsplit('-').next());
        let Some(program) = kind.and_then(|kind| programs.of_kind(kind)) else {
            continue;
        };
        let failed = |error| LoadError::pin("replace the program behind", &path, error);
        let link = maps::open_pin(&path).map_err(failed)?;
        let info = maps::link_info(link.as_fd()).map_err(failed)?;
        let wanted = maps::program_id(program).map_err(failed)?;
        // A link whose device is gone takes no program; it is replaced when its ENI is attached.
        if info.ifindex != 0 && info.program_id != wanted {
            maps::replace(link.as_fd(), program).map_err(failed)?;
        }
    }
    Ok(())
}

fn remove_other_texts(pins: &Pins, text: &Path) -> Result<(), LoadError> {
    for path in entries(&pins.programs())? {
        if path != text {
            fs::remove_dir_all(&path).map_err(|error| LoadError::pin("remove", &path, error))?;
        }
    }
    Ok(())
}

/// Ends of the names of link pins and filters (the bpf filesystem allows no dots in names).
pub(crate) const LINK_COPY: &str = "copy";
pub(crate) const LINK_EGRESS: &str = "egress";
pub(crate) const LINK_GUARD: &str = "guard";
pub(crate) const LINK_MIRRORED: &str = "mirrored";
pub(crate) const LINK_OUTSIDE: &str = "outside";
pub(crate) const LINK_TAP_EGRESS: &str = "tap_egress";
pub(crate) const LINK_TAP_GUARD: &str = "tap_guard";

/// What a directory holds; nothing if it is not there.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let failed = |error| LoadError::pin("list", directory, error);
    match fs::read_dir(directory) {
        Ok(found) => {
            let paths = found.map(|entry| entry.map(|entry| entry.path()));
            paths.collect::<io::Result<_>>().map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Directories of other layouts of the same installation: an earlier Enid's.
pub(crate) fn other_layouts(installation: Installation) -> Result<Vec<Pins>, LoadError> {
    let own = Pins::of(installation);
    let all = entries(&pin_root(installation))?;
    Ok(all
        .into_iter()
        .filter(|path| *path != own.0)
        .map(Pins)
        .collect())
}

/// Removes every pin of an installation: links first, so that no device is left with half of them.
/// Devices lose their programs unless they are gone before.
pub fn remove_pins(installation: Installation) -> Result<(), LoadError> {
    let root = pin_root(installation);
    for layout in entries(&root)? {
        Pins(layout).remove()?;
    }
    match fs::remove_dir(&root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(LoadError::pin("remove", &root, error));
        }
        _ => {}
    }
    if let Some(shared) = root.parent() {
        // It stays as long as another installation has pins below it.
        let _ = fs::remove_dir(shared);
    }
    Ok(())
}

/// Makes a directory and what it lies in. The directory that all installations share goes with the
/// last of them, perhaps in this moment: then it is made again.
fn make_dir(directory: &Path) -> io::Result<()> {
    match fs::create_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(directory),
        done => done,
    }
}

impl Pins {
    /// Removes a layout's directory with all that is in it.
    pub(crate) fn remove(&self) -> Result<(), LoadError> {
        for part in [
            self.links(),
            self.programs(),
            self.0.join("maps"),
            self.0.clone(),
        ] {
            match fs::remove_dir_all(&part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LoadError::pin("remove", &part, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A hash of the sizes and limits of all maps.
fn layout_hash() -> [u8; 32] {
    let mut hash = Sha256::new();
    for size in LAYOUT {
        hash.update((size as u64).to_be_bytes());
    }
    hash.finalize().into()
}

/// The first 16 hexadecimal digits of a hash.
fn hex(hash: &[u8]) -> String {
    hash.iter().take(8).fold(String::new(), |mut text, byte| {
        // Unwrap: writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
