use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{User, geteuid};

use crate::Error;

/// The operating system user that a server runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// The user of this process.
    Myself,
    /// An unprivileged user, because this process runs as root.
    Other { name: String, uid: u32, gid: u32 },
}

impl RunAs {
    /// PostgreSQL refuses to run as root, so for root this is `postgres`, or else `nobody`.
    pub(crate) fn for_postgres() -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Ok(Self::Myself);
        }
        for name in ["postgres", "nobody"] {
            let user =
                User::from_name(name).map_err(|e| Error::io(format!("looking up user {name}"))(e.into()))?;
            if let Some(user) = user.filter(|user| !user.uid.is_root()) {
                return Ok(Self::Other { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() });
            }
        }
        Err(Error::Unsupported(
            "PostgreSQL does not run as root, and there is neither a user 'postgres' nor a user 'nobody' to \
             run it as: create one, or run the tests as another user"
                .to_owned(),
        ))
    }

    /// A command that runs as this user. Setting a user id also empties the supplementary groups.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Makes the user the owner of a file.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Myself => Ok(()),
            Self::Other { uid, gid, name } => std::os::unix::fs::chown(path, Some(*uid), Some(*gid))
                .map_err(Error::at(format_args!("changing the owner to '{name}' of"), path)),
        }
    }

    /// Whether the mode of `path` lets the user create a directory in it.
    pub(crate) fn may_create_in(&self, path: &Path) -> bool {
        match self {
            Self::Myself => true,
            Self::Other { .. } => {
                self.closed_directory(path).is_none()
                    && fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o002 != 0)
            }
        }
    }

    /// The first directory on the way to `path` that the user cannot enter.
    pub(crate) fn closed_directory(&self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Myself => None,
            Self::Other { .. } => {
                let open = |path: &Path| {
                    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
                };
                let mut way: Vec<_> = path.ancestors().collect();
                way.reverse();
                way.into_iter().find(|path| !open(path)).map(Path::to_path_buf)
            }
        }
    }
}
