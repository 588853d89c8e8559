use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, process};

use nix::unistd::geteuid;

use crate::Error;
use crate::command::output_of;

/// Where the servers' programs are kept.
pub(crate) fn root() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(chosen) = variable("POSTRIDER_CACHE") {
        return std::path::absolute(&chosen).unwrap_or(chosen);
    }
    if geteuid().is_root() {
        return PathBuf::from("/var/cache/postrider");
    }
    let home = || variable("HOME").unwrap_or_else(|| PathBuf::from("/tmp")).join(".cache");
    variable("XDG_CACHE_HOME").unwrap_or_else(home).join("postrider")
}

/// The directory `name` of the cache. Where it is not there yet, `fill` fills a temporary one that then
/// takes its name, so that a directory of the cache is always whole.
///
/// One process fills at a time, the others wait for it: Maven's own repository does not bear two
/// writers either.
pub(crate) fn provide(name: &str, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<PathBuf, Error> {
    let root = root();
    let wanted = root.join(name);
    if wanted.is_dir() {
        return Ok(wanted);
    }

    fs::create_dir_all(&root).map_err(Error::at("creating", &root))?;
    open_to_all(&root)?;
    let lock_path = root.join(".lock");
    let lock = File::create(&lock_path).map_err(Error::at("creating", &lock_path))?;
    lock.lock().map_err(Error::at("locking", &lock_path))?;
    if wanted.is_dir() {
        return Ok(wanted);
    }

    let partial = root.join(format!(".{name}.{}", process::id()));
    remove(&partial)?;
    fs::create_dir(&partial).map_err(Error::at("creating", &partial))?;
    let filled = fill(&partial)
        .and_then(|()| output_of(Command::new("chmod").args(["-R", "a+rX"]).arg(&partial)).map(drop))
        .and_then(|()| fs::rename(&partial, &wanted).map_err(Error::at("renaming", &partial)));
    match filled {
        Ok(()) => Ok(wanted),
        Err(error) => {
            remove(&partial)?;
            Err(error)
        }
    }
}

/// Whatever the umask: the servers run as another user when we are root.
fn open_to_all(path: &Path) -> Result<(), Error> {
    let mut permissions = fs::metadata(path).map_err(Error::at("looking at", path))?.permissions();
    if permissions.mode() & 0o055 == 0o055 {
        return Ok(());
    }
    permissions.set_mode(permissions.mode() | 0o055);
    fs::set_permissions(path, permissions).map_err(Error::at("opening to all users", path))
}

fn remove(path: &Path) -> Result<(), Error> {
    if path.exists() { fs::remove_dir_all(path).map_err(Error::at("removing", path)) } else { Ok(()) }
}
