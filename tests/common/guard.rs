//! Slices beside memory that may not be touched: an access outside them ends the test with a signal.
//!
//! Rust's own checks do not see what a kernel reads through a pointer, and a read beyond the end usually succeeds.

#![allow(dead_code, reason = "each test uses some of it")]

use std::ops::{Deref, DerefMut};
use std::{io, ptr, slice};

/// The side on which the forbidden page is directly adjacent. Both sides have one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    /// The first byte of the slice is the first one that may be touched.
    Start,
    /// The last byte of the slice is the last one that may be touched.
    End,
}

pub const EDGES: [Edge; 2] = [Edge::Start, Edge::End];

/// What lies between a slice and the forbidden pages.
const FILL: u8 = 0xa5;

/// A slice on pages of its own, between two forbidden pages.
pub struct Guarded<T> {
    map: *mut libc::c_void,
    map_len: usize,
    page: usize,
    data: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    pub fn new(values: &[T], edge: Edge) -> Self {
        Self::apart(values, edge, 0)
    }

    /// As [`new`](Self::new), `apart` bytes from the edge: so a slice lies at any alignment that its elements allow.
    pub fn apart(values: &[T], edge: Edge, apart: usize) -> Self {
        assert_eq!(apart % align_of::<T>(), 0);
        // SAFETY: asks for a constant of the system.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let bytes = size_of_val(values);
        let inner = (bytes + apart).next_multiple_of(page);
        let map_len = inner + 2 * page;
        // SAFETY: a new private mapping at a place that the system chooses.
        let map =
            unsafe { libc::mmap(ptr::null_mut(), map_len, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0) };
        assert_ne!(map, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        // SAFETY: `page` is inside the mapping.
        let start = unsafe { map.cast::<u8>().add(page) };
        if inner > 0 {
            // SAFETY: the `inner` bytes from `start` on are pages of the mapping.
            let failed = unsafe { libc::mprotect(start.cast(), inner, libc::PROT_READ | libc::PROT_WRITE) };
            assert_eq!(failed, 0, "{}", io::Error::last_os_error());
            // SAFETY: as above, and they may be written now.
            unsafe { ptr::write_bytes(start, FILL, inner) };
        }
        let at = match edge {
            Edge::Start => apart,
            Edge::End => inner - bytes - apart,
        };
        // SAFETY: `bytes` bytes fit behind `at`, both ends of a page are aligned for any `T`, and so is `apart`.
        let data = unsafe { start.add(at) }.cast::<T>();
        // SAFETY: `data` has room for the values, which lie elsewhere.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), data, values.len()) };
        Self { map, map_len, page, data, len: values.len() }
    }

    /// Whether nothing was written around the slice, on its pages.
    pub fn is_clean(&self) -> bool {
        let inner = self.map_len - 2 * self.page;
        // SAFETY: the `inner` bytes behind the first page were written by `new`, and writers of the slice borrow `self`.
        let bytes = unsafe { slice::from_raw_parts(self.map.cast::<u8>().add(self.page), inner) };
        let start = self.data.addr() - self.map.addr() - self.page;
        let (before, rest) = bytes.split_at(start);
        before.iter().chain(&rest[size_of::<T>() * self.len..]).all(|&byte| byte == FILL)
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows it any more.
        unsafe { libc::munmap(self.map, self.map_len) };
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
