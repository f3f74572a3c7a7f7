//! Reads the files that an operator names, none of which may hold the reader up or have no end.
//!
//! A FIFO into which nobody writes keeps everybody waiting who opens it, and a device such as
//! `/dev/zero` never ends. A program that serves reads regular files only; a command may also be given
//! a pipe, which is what the shell makes of `<(...)`.

use std::fs::{File, Metadata, metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::Errno;

/// Longest wait for the one who writes into a pipe: it is started beside us.
const WRITER_MAX: Duration = Duration::from_secs(5);

/// Pause between two looks for it.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The content of a regular file of at most so many bytes.
///
/// # Errors
/// The system's, and [`ErrorKind::InvalidInput`] for what is no regular file,
/// [`ErrorKind::FileTooLarge`] for one that is longer.
pub fn regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    bounded(open_as(path, Metadata::is_file)?, bytes_max, &mut content)?;
    Ok(content)
}

/// Adds the content of a regular file or a pipe to `content`, which may have room for a whole secret
/// so that growing leaves no copy of it behind. Waits for what is written into a pipe.
///
/// # Errors
/// As of [`regular`], and [`ErrorKind::TimedOut`] for a pipe into which nobody writes.
pub fn given(path: &Path, bytes_max: u64, content: &mut Vec<u8>) -> io::Result<()> {
    let file = open_as(path, is_file_or_pipe)?;
    if !file.metadata()?.is_file() {
        await_writer(&file, content)?;
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    }
    bounded(file, bytes_max, content)
}

/// Whether this is a regular file, for those who let others read it.
///
/// # Errors
/// As of [`regular`].
pub fn check_regular(path: &Path) -> io::Result<()> {
    fits(&metadata(path)?, Metadata::is_file)
}

/// Whether this is a regular file or a pipe.
///
/// # Errors
/// As of [`regular`].
pub fn check_given(path: &Path) -> io::Result<()> {
    fits(&metadata(path)?, is_file_or_pipe)
}

fn is_file_or_pipe(found: &Metadata) -> bool {
    found.is_file() || found.file_type().is_fifo()
}

/// Opens without waiting for anybody. What is not `wanted` is not even opened, because that already
/// means something to a device or to the one who writes into a FIFO.
fn open_as(path: &Path, wanted: impl Fn(&Metadata) -> bool) -> io::Result<File> {
    fits(&metadata(path)?, &wanted)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    fits(&file.metadata()?, &wanted)?;
    Ok(file)
}

fn fits(found: &Metadata, wanted: impl Fn(&Metadata) -> bool) -> io::Result<()> {
    if wanted(found) {
        Ok(())
    } else if found.is_dir() {
        Err(Errno::ISDIR.into())
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"))
    }
}

/// Returns when there is somebody who writes; what it wrote first is in `content`.
fn await_writer(file: &File, content: &mut Vec<u8>) -> io::Result<()> {
    let deadline = Instant::now() + WRITER_MAX;
    loop {
        match file.take(1).read_to_end(content) {
            // An end means that nobody has the other side open: not yet, or not any more.
            Ok(0) if Instant::now() < deadline => sleep(LOOK_AGAIN),
            Ok(0) => return Err(io::Error::new(ErrorKind::TimedOut, "nobody writes into it")),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Adds what somebody writes to `content`: to the end, but not much further than allowed.
///
/// # Errors
/// The system's, and [`ErrorKind::FileTooLarge`].
pub fn bounded(source: impl Read, bytes_max: u64, content: &mut Vec<u8>) -> io::Result<()> {
    source.take(bytes_max + 1).read_to_end(content)?;
    if content.len() as u64 > bytes_max {
        let sentence = format!("it is larger than {bytes_max} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, sentence));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::PathBuf;

    fn fifo(dir: &Path) -> PathBuf {
        let path = dir.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::from_raw_mode(0o600)).unwrap();
        path
    }

    fn kind<T>(read: io::Result<T>) -> Option<ErrorKind> {
        read.err().map(|error| error.kind())
    }

    #[test]
    fn regular_files_are_read_up_to_their_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "1234").unwrap();
        let mut content = Vec::new();
        given(&path, 4, &mut content).unwrap();
        assert_eq!((content, regular(&path, 4).unwrap()), (b"1234".to_vec(), b"1234".to_vec()));
        check_regular(&path).and(check_given(&path)).unwrap();
        assert_eq!(kind(regular(&path, 3)), Some(ErrorKind::FileTooLarge));
        assert_eq!(kind(given(&path, 3, &mut Vec::new())), Some(ErrorKind::FileTooLarge));
        let nothing = dir.path().join("nothing");
        assert_eq!(kind(regular(&nothing, 4)), Some(ErrorKind::NotFound));
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let paths = [fifo(dir.path()), dir.path().join("socket"), "/dev/zero".into()];
        for path in &paths {
            assert_eq!(kind(regular(path, 4)), Some(ErrorKind::InvalidInput), "{path:?}");
            assert_eq!(kind(check_regular(path)), Some(ErrorKind::InvalidInput), "{path:?}");
        }
        for path in &paths[1..] {
            assert_eq!(kind(given(path, 4, &mut Vec::new())), Some(ErrorKind::InvalidInput));
            assert_eq!(kind(check_given(path)), Some(ErrorKind::InvalidInput));
        }
        check_given(&paths[0]).unwrap();
        assert_eq!(kind(regular(dir.path(), 4)), Some(ErrorKind::IsADirectory));
    }

    #[test]
    fn a_pipe_is_read_by_who_may_wait_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(dir.path());
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                sleep(2 * LOOK_AGAIN);
                let mut pipe = File::options().write(true).open(&path).unwrap();
                for part in ["one ", "two"] {
                    sleep(2 * LOOK_AGAIN);
                    pipe.write_all(part.as_bytes()).unwrap();
                }
            });
            let mut content = Vec::new();
            given(&path, 7, &mut content).unwrap();
            assert_eq!(content, b"one two");
            writer.join().unwrap();
        });
        assert_eq!(kind(given(&path, 4, &mut Vec::new())), Some(ErrorKind::TimedOut));
    }
}
