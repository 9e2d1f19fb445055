//! Slices beside memory that may not be touched: an access outside them ends the test with a signal.
//!
//! Rust's own checks do not see what a kernel reads through a pointer, and a read beyond the end usually succeeds.
//! Miri does see it, and has no pages to forbid. Under Miri a slice and the gap to its edge are an allocation of their
//! own.

#![allow(dead_code, reason = "each test uses some of it")]

use std::ops::{Deref, DerefMut};
use std::{ptr, slice};

/// Which end of the slice touches a forbidden page. There is a forbidden page on either side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    /// The first byte of the slice is the first one that may be touched.
    Start,
    /// The last byte of the slice is the last one that may be touched.
    End,
}

pub const EDGES: [Edge; 2] = [Edge::Start, Edge::End];

/// What fills the gap between a slice and the forbidden pages.
const FILL: u8 = 0xa5;

/// A slice on pages of its own, between two forbidden pages.
pub struct Guarded<T> {
    pages: Pages,
    data: *mut T,
    len: usize,
}

/// Bytes between two forbidden pages: whole pages, or under Miri as many as were asked for.
struct Pages {
    start: *mut u8,
    len: usize,
}

#[cfg(not(miri))]
impl Pages {
    fn size() -> usize {
        // SAFETY: asks for a constant of the system.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap()
    }

    fn new(bytes: usize) -> Self {
        let page = Self::size();
        let len = bytes.next_multiple_of(page);
        // SAFETY: a new private mapping at a place that the system chooses.
        let map = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
            libc::mmap(ptr::null_mut(), len + 2 * page, libc::PROT_NONE, flags, -1, 0)
        };
        assert_ne!(map, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        // SAFETY: `page` is inside the mapping.
        let start = unsafe { map.cast::<u8>().add(page) };
        if len > 0 {
            // SAFETY: the `len` bytes from `start` on are pages of the mapping.
            let failed = unsafe { libc::mprotect(start.cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
            assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
        }
        Self { start, len }
    }
}

#[cfg(not(miri))]
impl Drop for Pages {
    fn drop(&mut self) {
        let page = Self::size();
        // SAFETY: the mapping is this value's own, and nothing borrows it any more.
        unsafe { libc::munmap(self.start.sub(page).cast(), self.len + 2 * page) };
    }
}

#[cfg(miri)]
impl Pages {
    fn layout(len: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(len.max(1), 64).unwrap()
    }

    fn new(len: usize) -> Self {
        // SAFETY: the layout has a size.
        let start = unsafe { std::alloc::alloc(Self::layout(len)) };
        Self { start, len }
    }
}

#[cfg(miri)]
impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `new` has allocated this, and nothing borrows it any more.
        unsafe { std::alloc::dealloc(self.start, Self::layout(self.len)) };
    }
}

impl<T: Copy> Guarded<T> {
    pub fn new(values: &[T], edge: Edge) -> Self {
        Self::apart(values, edge, 0)
    }

    /// Like [`new`](Self::new), but `apart` bytes from the edge, for every alignment that the elements allow.
    pub fn apart(values: &[T], edge: Edge, apart: usize) -> Self {
        assert_eq!(apart % align_of::<T>(), 0);
        let bytes = size_of_val(values);
        let pages = Pages::new(bytes + apart);
        // SAFETY: these bytes are the pages' own.
        unsafe { ptr::write_bytes(pages.start, FILL, pages.len) };
        let at = match edge {
            Edge::Start => apart,
            Edge::End => pages.len - bytes - apart,
        };
        // SAFETY: `bytes` bytes fit behind `at`, both ends of the pages are aligned for `T`, and so is `apart`.
        let data = unsafe { pages.start.add(at) }.cast::<T>();
        // SAFETY: `data` has room for the values, which lie elsewhere.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), data, values.len()) };
        Self { pages, data, len: values.len() }
    }

    /// Whether nothing was written on its pages around the slice.
    pub fn is_clean(&self) -> bool {
        // SAFETY: `apart` has written these bytes, and writers of the slice borrow `self`.
        let bytes = unsafe { slice::from_raw_parts(self.pages.start, self.pages.len) };
        let (before, rest) = bytes.split_at(self.data.addr() - self.pages.start.addr());
        before.iter().chain(&rest[size_of::<T>() * self.len..]).all(|&byte| byte == FILL)
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` has written that many elements.
        unsafe { slice::from_raw_parts(self.data, self.len) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `new` has written that many elements, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.data, self.len) }
    }
}
