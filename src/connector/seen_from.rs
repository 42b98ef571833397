//! Where a relative path was looked for: what an error about one has to say.

use std::path::Path;

/// ` (seen from FOLDER)` for a relative path, nothing for another.
pub(super) fn seen_from(path: &Path) -> String {
    if path.is_absolute() {
        return String::new();
    }
    std::env::current_dir().map_or(String::new(), |d| format!(" (seen from {})", d.display()))
}
