//! Descriptors that came from whoever started this process, and that nothing here knows of.
//!
//! A pipe that stays open here keeps its reader waiting for as long as we live.

/// Closes all but the first three. Call it while this process has opened none of its own. A kernel before
/// Linux 5.9 cannot, and they stay.
#[expect(unsafe_code, reason = "descriptors that are known by their numbers have no owner")]
pub(crate) fn close() {
    // SAFETY: nothing of ours is open yet, so no descriptor that is closed has an owner in this process.
    let _ = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}
