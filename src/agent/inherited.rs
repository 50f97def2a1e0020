//! What came from whoever started this process, and that nothing here knows of.
//!
//! A pipe that stays open here keeps its reader waiting for as long as we live. A signal that is blocked, or
//! ignored, stays so in every program that is started from here: an agent could not be ended, or not waited for.

use std::mem::MaybeUninit;
use std::ptr;

/// Closes all descriptors but the first three. Call it while this process has opened none of its own. A kernel
/// before Linux 5.9 cannot, and they stay.
#[expect(unsafe_code, reason = "descriptors that are known by their numbers have no owner")]
pub(crate) fn close() {
    // SAFETY: nothing of ours is open yet, so no descriptor that is closed has an owner in this process.
    let _ = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Blocks no signal, and can wait for its children. Call it while there is no other thread.
#[expect(unsafe_code, reason = "the standard library leaves both as they were inherited")]
pub(crate) fn reset_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: `none` is written by the first call before the second reads it, and no handler is replaced, since
    // handlers are not inherited.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}
