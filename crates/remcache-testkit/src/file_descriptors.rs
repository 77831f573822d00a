//! File descriptors that a child process inherits, which memcached counts against its `-c` limit.

use std::fs;

/// Returns the `-c` value with which memcached, as a child of this process, has `wanted` free file descriptors,
/// including the standard three.
///
/// memcached limits the numbers of its file descriptors, not of its connections, so descriptors that it inherits from a
/// terminal or build tool leave fewer for connections.
pub fn descriptor_limit(wanted: usize) -> usize {
    let inherited = inherited();
    let is_enough = |limit: &usize| limit - inherited.iter().filter(|number| *number < limit).count() >= wanted;
    (wanted..).find(is_enough).unwrap_or(wanted)
}

/// Returns the descriptors above the standard three that a child inherits.
fn inherited() -> Vec<usize> {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number > 2 && is_inherited(*number)).collect()
}

/// Returns whether a descriptor stays open in a child: its flags lack close-on-exec.
fn is_inherited(number: usize) -> bool {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else { return false };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & CLOSE_ON_EXEC == 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_inherits_these_descriptors() {
        // `ls` has one more descriptor open, for the directory that it lists.
        let listed = Command::new("ls").arg("/proc/self/fd").output().expect("ls runs");
        let seen = String::from_utf8_lossy(&listed.stdout).lines().count();
        assert_eq!(seen - 3 - 1, inherited().len());
    }

    #[test]
    fn the_limit_leaves_enough_descriptors() {
        let limit = descriptor_limit(13);
        assert_eq!(limit - inherited().iter().filter(|number| **number < limit).count(), 13);
    }
}
