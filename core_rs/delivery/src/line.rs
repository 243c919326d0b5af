//! A connection: its socket, its TLS state, and the account of what its peer has acknowledged.

use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use pystream_tls::{Connection, sealed_len};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::sendfile;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg, sockopt};

use crate::account::{Account, Ledger, Row, Tag};
use crate::queue::{held, unacknowledged};

/// A connection. Any thread may use it; only one at a time may write.
pub struct Line {
    /// Gone once the line is closed, whoever still knows it.
    socket: RwLock<Option<OwnedFd>>,
    tls: Option<Mutex<Connection>>,
    account: Mutex<Account>,
    ledger: Arc<dyn Ledger>,
    full: AtomicBool,
    /// When the bytes of answers that have a rate are paid for.
    paid: Mutex<Option<Instant>>,
}

/// What a line had for its reader.
#[derive(Debug, Eq, PartialEq)]
pub enum Received<'a> {
    /// Bytes of requests.
    Bytes(Cow<'a, [u8]>),
    /// Nothing at present.
    Nothing,
    /// The peer will send no more.
    End,
}

/// What a socket did not take of a response at once.
#[derive(Debug, Eq, PartialEq)]
pub struct Rest {
    /// What goes over the wire first, as it is: the end of the head, or records that are sealed.
    pub(crate) wire: Vec<u8>,
    /// Bytes of the response in them.
    pub(crate) plain: u64,
    /// Where in the body the bytes begin that come after them.
    pub(crate) at: usize,
}

/// The most of a response's body that is sealed at once. Of what waits for its socket so much is held a second time; the
/// rest of it lies where the body does, for all who get the same one.
const SEALED_AT_ONCE: usize = 64 * 1024;

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    /// `socket` is a non-blocking stream socket.
    pub fn new(socket: OwnedFd, tls: Option<Connection>, ledger: Arc<dyn Ledger>) -> Self {
        let (tls, account, full) = (tls.map(Mutex::new), Mutex::default(), AtomicBool::new(false));
        Self { socket: RwLock::new(Some(socket)), tls, account, ledger, full, paid: Mutex::default() }
    }

    /// Reads what the peer has sent, with `buffer` as scratch memory. Answers of the TLS protocol go out at once, as far
    /// as the socket takes them, unless an answer is under way (`quiet`), which then carries them along.
    ///
    /// # Errors
    /// The socket's, and `InvalidData` where the peer does not speak TLS as it should.
    pub fn receive<'a>(&self, buffer: &'a mut [MaybeUninit<u8>], quiet: bool) -> io::Result<Received<'a>> {
        let Some(tls) = &self.tls else {
            return Ok(match self.read(buffer)? {
                None => Received::Nothing,
                Some([]) => Received::End,
                Some(read) => Received::Bytes(Cow::Borrowed(read)),
            });
        };
        loop {
            let received = match self.read(buffer)? {
                None => return Ok(Received::Nothing),
                Some([]) => return Ok(Received::End),
                Some(read) => self.open(&mut held(tls), read, quiet)?,
            };
            // A part of a record, or of the handshake: behind it may be the end.
            if received != Received::Nothing {
                return Ok(received);
            }
        }
    }

    /// What the socket has; nothing at its end, `None` where there is nothing yet.
    fn read<'a>(&self, buffer: &'a mut [MaybeUninit<u8>]) -> io::Result<Option<&'a [u8]>> {
        let most = buffer.len();
        match self.on_socket(|socket| recv(socket, buffer, RecvFlags::DONTWAIT)) {
            Ok(((read, _), _)) => {
                if !read.is_empty() {
                    self.full.store(read.len() == most, Ordering::Relaxed);
                }
                Ok(Some(read))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the last [`receive`](Self::receive) had as many bytes as it had room for: there may be more.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn open(&self, tls: &mut Connection, sealed: &[u8], quiet: bool) -> io::Result<Received<'static>> {
        let fed = tls.feed(sealed);
        if !quiet || fed.is_err() {
            let control = tls.take();
            // What a handshake or an alert cannot send now is small, and the socket was idle: it takes it.
            let sent = if control.is_empty() { 0 } else { self.write(&[IoSlice::new(&control)], false)? };
            if sent < control.len() {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "the peer does not read its handshake"));
            }
            held(&self.account).handed(control.len() as u64, 0);
        }
        let plain = fed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?.plaintext;
        Ok(match plain {
            plain if !plain.is_empty() => Received::Bytes(Cow::Owned(plain)),
            _ if tls.is_closed_by_peer() => Received::End,
            _ => Received::Nothing,
        })
    }

    /// A whole response from memory, as far as the socket takes it now; the rest is for an order to send, with the same body.
    /// `tag` names what is booked, where its delivery is to be told.
    ///
    /// # Errors
    /// The socket's.
    pub fn respond(&self, head: &[u8], body: &[u8], row: Option<Row>, tag: Option<Tag>) -> io::Result<Option<Rest>> {
        self.begin(row, tag);
        if self.is_clear() { self.respond_clear(head, body) } else { self.respond_sealed(head, body) }
    }

    fn respond_clear(&self, head: &[u8], body: &[u8]) -> io::Result<Option<Rest>> {
        let sent = self.write(&[IoSlice::new(head), IoSlice::new(body)], false)?;
        let whole = sent == head.len() + body.len();
        self.responded(sent, sent as u64, whole);
        if whole {
            return Ok(None);
        }
        let wire = head[sent.min(head.len())..].to_vec();
        Ok(Some(Rest { plain: wire.len() as u64, wire, at: sent.saturating_sub(head.len()) }))
    }

    fn respond_sealed(&self, mut head: &[u8], body: &[u8]) -> io::Result<Option<Rest>> {
        let mut at = 0;
        loop {
            let part = &body[at..body.len().min(at + SEALED_AT_ONCE)];
            at += part.len();
            let mut sealed = Vec::new();
            self.seal([head, part], &mut sealed)?;
            let plain = (head.len() + part.len()) as u64;
            let sent = self.write(&[IoSlice::new(&sealed)], false)?;
            let counted = share(plain, sent, sealed.len());
            let whole = sent == sealed.len() && at == body.len();
            self.responded(sent, counted, whole);
            if whole {
                return Ok(None);
            }
            if sent < sealed.len() {
                return Ok(Some(Rest { wire: sealed.split_off(sent), plain: plain - counted, at }));
            }
            head = &[];
        }
    }

    fn responded(&self, wire: usize, plain: u64, whole: bool) {
        let mut account = held(&self.account);
        account.handed(wire as u64, plain);
        if whole {
            account.whole();
        }
    }

    /// Books what the peer has acknowledged by now; returns whether that is all.
    pub fn settle(&self) -> bool {
        held(&self.account).settle(self.unacknowledged(), &*self.ledger)
    }

    /// Tells the peer that nothing more will come.
    pub fn shut(&self) {
        if let Some(tls) = &self.tls {
            let mut farewell = Vec::new();
            held(tls).close(&mut farewell);
            let _ = self.write(&[IoSlice::new(&farewell)], false);
        }
        // A socket that cannot be told is one that is gone.
        let _ = self.on_socket(|socket| rustix::net::shutdown(socket, rustix::net::Shutdown::Write));
    }

    /// Books the line's end, and closes its socket. `reset`: the peer shall notice that something is missing.
    pub fn close(&self, reset: bool) {
        held(&self.account).close(self.unacknowledged(), &*self.ledger);
        if reset {
            let _ = self.on_socket(|socket| sockopt::set_socket_linger(socket, Some(Duration::ZERO)));
        }
        *self.socket.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The descriptor's number, or -1 once the line is closed.
    pub fn number(&self) -> i32 {
        self.on_socket(|socket| Ok(socket.as_raw_fd())).unwrap_or(-1)
    }

    /// Whether the peer has closed the connection, at least its own half; what it had sent before may still be unread.
    pub fn is_gone(&self) -> bool {
        let told = self.on_socket(|socket| {
            let mut one = [PollFd::new(&socket, PollFlags::RDHUP)];
            poll(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
            Ok(one[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR))
        });
        told.unwrap_or(true)
    }

    /// Does something with the socket, as long as there is one.
    pub(crate) fn on_socket<T>(
        &self,
        act: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        act(socket.as_ref().ok_or(rustix::io::Errno::NOTCONN)?.as_fd())
    }

    pub(crate) fn begin(&self, row: Option<Row>, tag: Option<Tag>) {
        let mut account = held(&self.account);
        // What came before is acknowledged by now, mostly: a peer asks again when it has its answer. Where nothing is to be
        // booked, as of refusals, the kernel is not asked.
        if !account.is_settled() {
            account.settle(self.unacknowledged(), &*self.ledger);
        }
        if let Some(row) = row {
            account.begin(row, tag, &*self.ledger);
        }
    }

    /// When an answer that has a rate may begin: what the ones before it have sent ahead of their time is paid first, or a
    /// file in small ranges would have no rate.
    pub(crate) fn begin_at(&self, now: Instant) -> Instant {
        held(&self.paid).map_or(now, |paid| paid.max(now))
    }

    /// An answer that has a rate has ended; what it sent is paid for then.
    pub(crate) fn owe(&self, paid: Instant) {
        *held(&self.paid) = Some(paid);
    }

    pub(crate) fn handed(&self, wire: u64, plain: u64) {
        held(&self.account).handed(wire, plain);
    }

    pub(crate) fn whole(&self) {
        held(&self.account).whole();
    }

    /// Appends the records of both parts to `sealed`; `false` where the line is clear.
    ///
    /// # Errors
    /// `InvalidData` where the session is of no use any more.
    pub(crate) fn seal(&self, parts: [&[u8]; 2], sealed: &mut Vec<u8>) -> io::Result<bool> {
        let Some(tls) = &self.tls else { return Ok(false) };
        sealed.reserve(parts.iter().map(|part| sealed_len(part.len())).sum());
        let mut tls = held(tls);
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            tls.seal(part, sealed).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        }
        Ok(true)
    }

    /// Seals both parts, to be sent by [`Self::write_sealed`]; `false` where the line is clear.
    ///
    /// # Errors
    /// `InvalidData` where the session is of no use any more.
    pub(crate) fn queue(&self, parts: [&[u8]; 2]) -> io::Result<bool> {
        let Some(tls) = &self.tls else { return Ok(false) };
        let mut tls = held(tls);
        for part in parts {
            tls.queue(part).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        }
        Ok(true)
    }

    /// Sends of what is sealed as much as the socket takes; how much that was, and whether it was all.
    pub(crate) fn write_sealed(&self) -> io::Result<(usize, bool)> {
        let Some(tls) = &self.tls else { return Ok((0, true)) };
        let mut tls = held(tls);
        let mut sent = 0;
        while tls.wants_write() {
            let mut socket = Socket { line: self, short: false };
            sent += tls.write_to(&mut socket)?;
            if socket.short {
                return Ok((sent, false));
            }
        }
        Ok((sent, true))
    }

    /// Bytes that the socket took, 0 where it has no room.
    /// `more`: what follows comes at once, and may share a packet.
    pub(crate) fn write(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        loop {
            let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            flags.set(SendFlags::MORE, more);
            match self.on_socket(|socket| sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)) {
                Ok(sent) => return Ok(sent),
                Err(rustix::io::Errno::AGAIN) => return Ok(0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Has the kernel take bytes from a file: how many the socket took, none where the file has none there, `None` where
    /// the socket has no room.
    pub(crate) fn send_file(&self, file: BorrowedFd<'_>, offset: u64, count: usize) -> io::Result<Option<usize>> {
        let mut offset = offset;
        loop {
            match self.on_socket(|socket| sendfile(socket, file, Some(&mut offset), count)) {
                Ok(sent) => return Ok(Some(sent)),
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether bytes go over the wire as they are.
    pub(crate) fn is_clear(&self) -> bool {
        self.tls.is_none()
    }

    /// Bytes that the kernel holds for the peer (tcp(7), SIOCOUTQ); of a socket that cannot tell, none.
    fn unacknowledged(&self) -> u64 {
        self.on_socket(unacknowledged).unwrap_or(0)
    }
}

/// A line's socket, for bytes that are sealed; `short` once it has not taken all that it was offered.
struct Socket<'a> {
    line: &'a Line,
    short: bool,
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = self.line.write(slices, false)?;
        self.short = sent < slices.iter().map(|slice| slice.len()).sum();
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Of `plain` bytes that became `wire`, those in the first `sent`.
pub(crate) fn share(plain: u64, sent: usize, wire: usize) -> u64 {
    if sent == wire { plain } else { (u128::from(plain) * sent as u128 / wire as u128) as u64 }
}
