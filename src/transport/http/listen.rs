//! Sockets with the right owner and mode from the first moment at which anyone can see them.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener};

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// With the path to remove at the end.
    Unix(UnixListener, SocketFile),
    /// Guarded by the token.
    Tcp(TcpListener),
}

/// Removes the socket's file when it goes.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds a Unix socket. A file left behind by a daemon that was killed is replaced; one that
/// somebody still listens on is an error.
pub fn bind_unix(path: &Path, mode: u32, group: Option<&str>) -> Result<Listener, String> {
    let say = |why: String| format!("socket {}: {why}", path.display());
    let io = |e: io::Error| say(e.to_string());
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| say(format!("its directory cannot be made: {e}")))?;
    }
    check_old(path).map_err(say)?;
    let group = group.map(group_id).transpose().map_err(say)?;

    // Bound under another name, then renamed: nobody can connect before the permissions are right.
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(io)?;
    let placed = fs::set_permissions(&new, fs::Permissions::from_mode(mode))
        .and_then(|()| group.map_or(Ok(()), |gid| std::os::unix::fs::chown(&new, None, Some(gid))))
        .and_then(|()| fs::rename(&new, path));
    if let Err(e) = placed {
        let _ = fs::remove_file(&new);
        return Err(io(e));
    }
    Ok(Listener::Unix(listener, SocketFile(path.into())))
}

fn check_old(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e.to_string()),
        Ok(meta) if !meta.file_type().is_socket() => {
            Err("something that is not a socket is there already".into())
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Err("another daemon listens there; stop it, or set `http.socket` to another path".into())
        }
        Ok(_) => Ok(()),
    }
}

/// A group's number by its name in /etc/group, or the number itself.
fn group_id(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group").map_err(|e| format!("/etc/group: {e}"))?;
    find_group(&groups, name).ok_or_else(|| format!("there is no group `{name}` in /etc/group"))
}

/// `group(5)`: name, password, number, members.
fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Binds a TCP address.
pub async fn bind_tcp(address: SocketAddr) -> Result<Listener, String> {
    TcpListener::bind(address).await.map(Listener::Tcp).map_err(|e| format!("tcp {address}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/outpost.sock");
        let first = bind_unix(&path, 0o600, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind_unix(&path, 0o600, None).unwrap_err().contains("another daemon listens there"));
        let Listener::Unix(listener, file) = first else { panic!("a unix socket") };
        std::mem::forget(file);
        drop(listener);
        assert!(path.exists(), "left behind, as after a kill");
        let second = bind_unix(&path, 0o660, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(bind_unix(&path, 0o600, None).unwrap_err().contains("not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn groups_are_found_by_name() {
        let groups = "root:x:0:\noutpost:x:994:anna,ben\nbroken\n";
        assert_eq!(find_group(groups, "outpost"), Some(994));
        assert_eq!(find_group(groups, "nobody"), None);
        assert_eq!(find_group(groups, "broken"), None);
    }
}
