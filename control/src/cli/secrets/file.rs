//! Secrets in files.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::SecretError;
use super::reference::Reference;

/// The file's text without white space at its end. A path may be a pipe or sit on a dead network mount, so the read happens on a
/// thread that can be given up.
pub(super) fn read(reference: &Reference, directory: &Path, seconds: u64) -> Result<String, SecretError> {
    let (path, variable) = (reference.text.clone(), reference.variable());
    let (sender, receiver) = mpsc::channel();
    let file: PathBuf = directory.join(&path);
    std::thread::spawn(move || sender.send(std::fs::read_to_string(file)));
    let text = match receiver.recv_timeout(Duration::from_secs(seconds)) {
        Ok(Ok(text)) => text,
        Ok(Err(source)) => return Err(SecretError::Unreadable { variable, path, source }),
        Err(_) => {
            let (key, backend) = (reference.key.clone(), reference.backend);
            return Err(SecretError::Timeout { key, backend, seconds });
        }
    };
    match text.trim_end() {
        "" => Err(SecretError::Empty { variable, path }),
        text => Ok(text.to_owned()),
    }
}
